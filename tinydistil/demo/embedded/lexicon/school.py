"""School, university and study."""

NOUNS = """
professor(person): professor/mf docente/c mestre/m
aluno(person): aluno/mf estudante/c
direção(person): diretor/mf coordenador/mf secretário/mf bibliotecário/mf
matéria(bare): matemática/f português/m história/f geografia/f ciências/f+ química/f física/f inglês/m biologia/f filosofia/f
prova: prova/f trabalho/m redação/f pesquisa/f
tarefa: tarefa/f lição/f exercício/m problema/m questão/f
livro: livro/m caderno/m dicionário/m apostila/f atlas/m texto/m
material(own): lápis/m caneta/f borracha/f régua/f mochila/f estojo/m tesoura/f compasso/m
escola(place): escola/f colégio/m faculdade/f universidade/f
sala(place): sala_de_aula/f biblioteca/f laboratório/m pátio/m auditório/m quadra/f
aula: aula/f palestra/f reunião/f
quadro(unique): quadro/m lousa/f
nota: nota/f bolsa_de_estudos/f diploma/m prêmio/m medalha/f
dúvida: dúvida/f pergunta/f resposta/f
conteúdo: verbo/m mapa/m tabuada/f poema/m fração/f
turma: turma/f classe/f
curso: curso/m projeto/m feira_de_ciências/f
atividade_geral: material_escolar/m atividade/f
colega_só(person): colega/c amigo/mf
biblioteca_só(place): biblioteca/f
auditório_só(place): auditório/m
caderno_só(unique): caderno/m
redação_só: redação/f
texto_só: texto/m resumo/m relatório/m
papelaria(place): papelaria/f livraria/f
exame_só: exame/m vestibular/m concurso/m
aula_só: reunião/f
nota_só: nota_alta/f nota_baixa/f boa_nota/f nota_máxima/f
perguntado(unique): significado_da_palavra/m data_da_prova/f nome_do_livro/m hora_da_saída/f
passeio: museu/m teatro/m fábrica/f
prova_escrita: trabalho/m pesquisa/f
turma_outra(unique): turma/f
escola_superior(place): universidade/f faculdade/f
duração(count): hora/f
"""  # noqa: E501

ADJECTIVES = """
professor: paciente exigente dedicado experiente novo querido severo ocupado@ satisfeito@ jovem
aluno: aplicado estudioso atento@ distraído preguiçoso inteligente novo nervoso@ cansado@ curioso preparado@ aprovado@
direção: exigente competente ocupado@ simpático novo
prova: difícil fácil longo importante final bimestral
tarefa: difícil fácil longo complicado simples
livro: novo velho interessante grosso caro emprestado@
material: novo colorido quebrado@ perdido@ barato
escola: público particular grande bom antigo distante moderno
sala: amplo cheio@ vazio@ silencioso@ iluminado@
aula: interessante chato longo divertido importante
nota: bom merecido
dúvida: simples difícil importante interessante
turma: grande pequeno animado@ barulhento unido
curso: longo bom interessante gratuito
"""

FRAMES = """
estudar | P aluno | matéria.b | em escola ; !para a prova ; em biblioteca_só ; com colega_só ; !até tarde
ensinar | professor P | matéria.b ; para aluno.d | em escola ; !com paciência ; !há dez anos
explicar | professor | *tarefa.d conteúdo.d | para aluno turma ; em quadro ; !duas vezes ; !com um exemplo
corrigir | professor | *prova.d tarefa.d redação_só.d | !em casa ; em sala ; !com caneta vermelha ; !durante o recreio
aplicar | professor | *prova.i | em sala ; !sem aviso ; !na última aula
fazer | P aluno | *prova.d tarefa.d | em sala ; !a lápis ; com colega_só ; !sem consultar o livro
entregar | aluno | *prova.d tarefa.d | para professor ; !no prazo ; !com atraso ; !antes do recreio
responder | aluno | a dúvida.d | !em voz alta ; !sem hesitar
perguntar | aluno | perguntado.d ; a professor.d | !em voz baixa ; !no fim da aula
copiar | aluno | *conteúdo.d tarefa.d | em caderno_só ; !do quadro ; !com letra bonita
resolver | aluno P | *tarefa.d | em quadro ; !em poucos minutos ; com professor
escrever | aluno P | *redação_só.i texto_só.i | !sobre as férias ; !sobre a família ; em caderno_só ; !sobre o meio ambiente
ler | aluno P | *livro | em biblioteca_só ; !em voz alta ; !até o fim ; !na véspera da prova
emprestar | P aluno | *livro.d material.d ; para colega_só.d | !por uma semana ; em sala
pegar | P aluno | *livro.d | em biblioteca_só ; !na estante
devolver | P aluno | *livro.d | em biblioteca_só ; para direção ; !no dia certo
esquecer | aluno | *material.d livro.d | em escola ; !em casa ; !no ônibus
perder | aluno | *material.d | em sala ; !no caminho da escola
comprar | P aluno | *material livro | em papelaria ; !para o novo ano
decorar | aluno | *conteúdo.d | !em uma tarde ; !para a prova
prestar_atenção | aluno turma.d | a aula.d | !do começo ao fim
assistir | aluno P turma.d | a aula.d | em auditório_só ; !até o fim
conversar | aluno | com colega_só | em sala ; !durante a aula ; !no recreio
faltar | aluno P professor | a aula.d | !por causa da chuva ; !sem justificativa ; !por causa de uma gripe
chegar | aluno P professor | a escola | !com atraso ; !na hora certa ; !antes do sinal ; !de bicicleta
tirar | aluno P | *nota_só.i | !em matemática ; !em português ; !na prova final
receber | aluno P | *nota.i | de professor direção ; !no fim do ano
passar | aluno P | em exame_só.d | !com nota alta ; !na primeira tentativa
elogiar | professor direção | *aluno.d turma.d | !na frente de todos ; !pelo esforço
ajudar | professor P | *aluno.d colega_só.d | com tarefa.d ; !depois da aula
dar_aula | professor P | de matéria.b | em escola ; !à noite
convocar | direção | *aula_só.i | !com os pais ; em auditório_só
visitar | turma.d aluno | *passeio.i | com professor ; !durante a semana cultural
apresentar | aluno turma.d | *curso.d prova_escrita.d | em auditório_só ; para turma_outra ; !com cartazes
entender | aluno | *conteúdo.d tarefa.d | !com facilidade ; !depois da explicação
matricular-se | P | em curso.d escola | !pela internet ; !no começo do ano
formar-se | P | em matéria.b | em escola_superior ; !com honras
terminar | aluno P | *prova.d tarefa.d curso.d | !antes do prazo ; !em primeiro lugar
haver~ | | livro.q material.q | em sala ; !em cima da mesa
durar~ | aula.d curso.d | duração.k | !sem intervalo
"""  # noqa: E501

SYNONYMS = """
professor docente
aluno estudante
escola colégio
tarefa lição
resolver solucionar
terminar concluir acabar
turma classe
escrever redigir
"""

HYPERNYMS = """
material_escolar: lápis caneta borracha régua mochila estojo tesoura
atividade: redação tarefa exercício prova pesquisa
"""
