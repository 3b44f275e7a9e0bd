"""Work, shops and money."""

NOUNS = """
trabalhador(person): funcionário/mf empregado/mf operário/mf estagiário/mf gerente/c secretário/mf
chefe(person): chefe/c patrão/mf diretor/mf gerente/c
vendedor(person): vendedor/mf atendente/c caixa/c lojista/c
consumidor(person): cliente/c consumidor/mf comprador/mf
técnico_de_reparo(person): eletricista/c encanador/mf mecânico/mf pedreiro/m marceneiro/mf
costura(person): costureiro/mf alfaiate/m sapateiro/mf
engenheiro(person): engenheiro/mf arquiteto/mf programador/mf contador/mf
empresa_loc(place): empresa/f escritório/m fábrica/f loja/f oficina/f banco/m
loja(place): loja/f shopping/m mercado/m feira/f
eletrônico(own): computador/m celular/m impressora/f notebook/m câmera/f tablet/m
produto: produto/m mercadoria/f aparelho/m
papelada: relatório/m contrato/m planilha/f documento/m e-mail/m projeto/m
encontro: reunião/f entrevista/f
pagamento: salário/m aumento/m bônus/m
dívida: dívida/f empréstimo/m boleto/m
vaga: vaga/f emprego/m estágio/m
ferramenta(own): martelo/m furadeira/f alicate/m chave_de_fenda/f serrote/m escada/f
defeito: vazamento/m curto-circuito/m defeito/m
construção: prédio/m muro/m casa/f ponte/f galpão/m
motor: motor/m freio/m pneu/m bateria/f
equipe: equipe/f departamento/m
costurado: vestido/m terno/m cortina/f calça/f
projeto_t: projeto/m trabalho/m
computador_só(place): computador/m
escritório_só(place): escritório/m
papel_contrato: contrato/m documento/m
reunião_só(place): reunião/f
empresa_só(unique): empresa/f fábrica/f
empresa_p(unique): empresa/f
empresa_de(unique): empresa/f
pagamento_mais: aumento/m
salário_d(own): salário/m
estudante_p(person): estudante/c jovem/c
jornal_v(place): jornal/m
emprego_d(own): emprego/m
produto_presente: presente/m produto/m
preço_p(unique): preço/m atendimento/m
gerente_só(person): gerente/c
dinheiro_só(mass): dinheiro/m
banco_só(place): banco/m
dívida_nova: empréstimo/m
amigo_d(person): amigo/mf
negócio: loja/f oficina/f padaria/f restaurante/m
bairro_neg(place): centro/m bairro/m
mecânico_só(person): mecânico/mf
carro_d(unique): carro/m
oficina_só(place): oficina/f garagem/f
pedreiro_só(person): pedreiro/m
muro_só: muro/m
programador_só(person): programador/mf
sistema: sistema/m aplicativo/m site/m
pagamento_bom: salário/m
loja_só(unique): loja/f
fábrica_só(unique): fábrica/f
produto_f: carro/m sapato/m móvel/m brinquedo/m computador/m
entregador(person): entregador/mf carteiro/mf
encomenda: encomenda/f pacote/m carta/f
ferramenta_geral: ferramenta/f
"""

ADJECTIVES = """
trabalhador: dedicado pontual experiente novo cansado@ competente demitido@ ocupado@ eficiente
chefe: exigente justo ocupado@ irritado@ satisfeito@ experiente
vendedor: educado simpático experiente paciente novo
consumidor: satisfeito@ irritado@ exigente antigo
técnico_de_reparo: experiente caro honesto ocupado@ rápido
costura: caprichoso experiente ocupado@
engenheiro: competente experiente jovem criativo
empresa_loc: grande moderno vazio@ fechado@ novo
loja: cheio@ novo caro barato fechado@ lotado@
eletrônico: novo caro lento rápido quebrado@ moderno ligado@
produto: caro barato novo importado nacional
papelada: longo urgente importante pronto@ confidencial
encontro: longo importante chato rápido produtivo
pagamento: baixo alto atrasado@ justo
dívida: alto antigo vencido@
ferramenta: novo velho pesado emprestado@
construção: alto novo antigo pronto@ moderno
motor: velho novo barulhento
"""

FRAMES = """
trabalhar~ | P trabalhador | em empresa_loc | em cidade ; !de segunda a sexta ; !até tarde ; !há cinco anos ; com colega
começar | P trabalhador | *encontro.d projeto_t.d | !às oito da manhã ; !com otimismo ; com equipe.d
escrever | trabalhador engenheiro P | *papelada.i papelada.d | para chefe ; em computador_só ; !antes da reunião
enviar | trabalhador engenheiro P | *papelada.d ; para chefe.d | !por engano ; !antes do prazo ; !pela internet
imprimir | trabalhador P | *papelada.d | em escritório_só ; !em duas vias ; !para a reunião
ler | chefe trabalhador | *papelada.d | em computador_só ; !com pressa ; !linha por linha
assinar | chefe trabalhador | *papel_contrato.d | em escritório_só ; !na presença do advogado
revisar | chefe engenheiro | *papelada.d | !duas vezes ; !antes da entrega
marcar | chefe | *encontro.i | com trabalhador equipe ; !para as dez horas ; !para segunda-feira
participar | P trabalhador | de encontro | !pelo computador ; com chefe ; em empresa_loc
contratar | chefe empresa_só | *trabalhador.i trabalhador.q engenheiro.i | !por tempo determinado ; !depois da entrevista
demitir | chefe empresa_só | *trabalhador.d | !sem aviso ; !por causa da crise ; !depois de dez anos
promover | chefe | *trabalhador.d | !com justiça ; !depois de um ano
elogiar | chefe | *trabalhador.d equipe.d | em reunião_só ; !diante de todos ; !pelo resultado
pedir | P trabalhador | *pagamento_mais.i | para chefe.d ; !com coragem ; !por escrito
receber | P trabalhador | *pagamento.i salário_d.d | !no quinto dia útil ; !com atraso ; de empresa_de
procurar | P estudante_p | *vaga.i | em cidade ; em jornal_v ; !há seis meses
conseguir | P estudante_p | *vaga.i | em empresa_loc ; em cidade ; !com a ajuda de um amigo
perder | P trabalhador | *emprego_d.u | !por causa da crise ; em empresa_loc
aposentar-se | P trabalhador | | !aos sessenta anos ; !depois de trinta anos de trabalho
vender | vendedor | *eletrônico produto.d | para consumidor ; em loja ; !com desconto ; !em dez prestações
comprar | P consumidor | *eletrônico.i produto.i | em loja ; !em dez prestações ; !com desconto ; !pela internet
trocar | P consumidor | *eletrônico.d produto.d | em loja ; !por causa do defeito ; !sem nota fiscal
atender | vendedor | *consumidor.d consumidor.q | em loja ; !com um sorriso ; !sem demora
embrulhar | vendedor | *produto_presente.d | !em papel colorido ; para consumidor.d
reclamar | consumidor P | de produto.d preço_p | com gerente_só ; !pelo telefone
economizar | P | dinheiro_só.b | !para a viagem ; !para a reforma da casa
pagar | P consumidor | *dívida.d | em banco_só ; !antes do vencimento ; !com o salário do mês
pedir | P consumidor | *dívida_nova.i | em banco_só ; !para comprar uma casa ; !em nome da família
sacar | P | dinheiro_só.b | em banco_só ; !no caixa eletrônico
abrir | P vendedor | *negócio.i | em cidade ; em bairro_neg ; com parente
fechar | vendedor | *negócio.d | !às seis horas ; !mais cedo ; !por causa da chuva
consertar | técnico_de_reparo | *eletrônico.d defeito.d | !sem cobrar nada ; !com rapidez
trocar | mecânico_só | *motor.d | de carro_d.u ; em oficina_só ; !em uma hora
usar | técnico_de_reparo P | *ferramenta.i ferramenta.d | !com cuidado ; em oficina_só ; !sem luvas
emprestar | P técnico_de_reparo | *ferramenta.i ; para colega.d nome | !por um dia
construir | pedreiro_só | *construção.i muro_só.i | em cidade ; !em três meses ; !com tijolos
projetar | engenheiro | *construção.i | em cidade ; !com paredes de vidro ; !para uma família grande
programar | programador_só | *sistema.i | para empresa_p.u ; !em poucas semanas
costurar | costura | *costurado.i | !à mão ; para consumidor ; !em dois dias
ligar | P trabalhador | *eletrônico.d | !logo cedo ; em escritório_só
desligar | P trabalhador | *eletrônico.d | !antes de sair ; !por engano
atrasar-se | P trabalhador | para encontro.d | !por causa do trânsito ; !de propósito
ganhar~ | P trabalhador | *pagamento_bom.i | em empresa_loc ; !por mês
lucrar | empresa_só loja_só | | !muito ; !menos do que o esperado ; em cidade
crescer | empresa_só loja_só | | !muito ; em cidade ; !depois da crise
produzir | fábrica_só | *produto_f.p | em cidade ; !dia e noite ; !para outros países
entregar | entregador | *encomenda.d | em escritório_só ; !de moto ; !no endereço errado ; !antes do meio-dia
"""  # noqa: E501

SYNONYMS = """
funcionário empregado
enviar mandar
demitir despedir
usar utilizar
consumidor comprador
contratar admitir
"""

HYPERNYMS = """
aparelho: computador celular impressora notebook câmera tablet
ferramenta: martelo furadeira alicate chave_de_fenda serrote
documento: planilha
"""
