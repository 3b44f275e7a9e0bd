"""What people have opinions about, and the words for them. `target/gender: aspects | praise | blame | facts`.

Aspects are parts of the thing ("roteiro/m"); praise and blame are adjectives that suit it beside the general ones;
facts, separated by ";", follow "é" or a verb of their own and say nothing good or bad.
"""

KINDS = """
filme: roteiro/m final/m trilha_sonora/f fotografia/f elenco/m | emocionante envolvente original | previsível confuso cansativo | passa às nove horas; estreou em março; se passa no interior; tem legendas em português; estreia na sexta-feira
livro: enredo/m final/m linguagem/f capa/f tradução/f | envolvente profundo original | previsível confuso repetitivo | tem trezentas páginas; saiu no ano passado; se passa no litoral; tem doze capítulos; está na biblioteca
comida: tempero/m sabor/m massa/f recheio/m porção/f | saboroso delicioso fresco | gorduroso frio insosso | custa trinta reais; serve duas pessoas; chega em meia hora; vem em uma caixa; está no cardápio
casa: comida/f atendimento/m ambiente/m cardápio/m decoração/f | acolhedor aconchegante agradável | barulhento sujo desorganizado | abre às onze horas; fica no centro; tem dois andares; fecha às segundas-feiras; aceita cartão
hospedagem: quarto/m café_da_manhã/m piscina/f atendimento/m cama/f | confortável limpo aconchegante | barulhento sujo apertado | fica perto da rodoviária; tem vinte quartos; abre o ano inteiro; tem estacionamento; aceita reservas por telefone
aparelho: bateria/f tela/f câmera/f acabamento/m desempenho/m | rápido prático resistente | lento frágil complicado | tem garantia de um ano; vem em três cores; chegou na terça-feira; vem com manual; veio da loja do centro
show: som/m palco/m iluminação/f repertório/m público/m | emocionante animado vibrante | desorganizado cansativo barulhento | começou às oito horas; durou duas horas; aconteceu na praça; volta no sábado; começa às nove horas
aula: explicação/f material/m ritmo/m exercício/m conteúdo/m | claro proveitoso estimulante | confuso cansativo repetitivo | começa às sete horas; acontece às quartas-feiras; tem trinta alunos; dura cinquenta minutos; é sobre história
viagem: paisagem/f guia/m trajeto/m hospedagem/f organização/f | inesquecível tranquilo relaxante | cansativo desorganizado estressante | durou cinco dias; passou por três cidades; começou na segunda-feira; foi de ônibus; terminou no litoral
jogo: ataque/m defesa/f arbitragem/f torcida/f segundo_tempo/m | emocionante disputado empolgante | monótono arrastado violento | começou às quatro horas; terminou em empate; teve três gols; foi no domingo; aconteceu em Recife
roupa: tecido/m cor/f costura/f acabamento/m modelo/m | confortável elegante macio | apertado frágil desconfortável | custa cem reais; é azul; veio em uma caixa; é do meu irmão; está em promoção
"""  # noqa: E501

TARGETS = """
filme: filme/m documentário/m série/f novela/f comédia/f drama/m
livro: livro/m romance/m biografia/f conto/m coletânea/f
comida: pizza/f lasanha/f sopa/f torta/f moqueca/f sanduíche/m bolo/m pastel/m feijoada/f
casa: restaurante/m padaria/f lanchonete/f bar/m pizzaria/f confeitaria/f churrascaria/f
hospedagem: hotel/m pousada/f chalé/m albergue/m
aparelho: celular/m computador/m fone/m relógio/m tablet/m impressora/f câmera/f liquidificador/m
show: show/m concerto/m festival/m espetáculo/m peça/f
aula: aula/f curso/m palestra/f oficina/f
viagem: viagem/f excursão/f passeio/m
jogo: jogo/m partida/f clássico/m final/f
roupa: vestido/m camisa/f casaco/m calça/f tênis/m bota/f
"""

PRAISE = "ótimo excelente maravilhoso bom incrível perfeito fantástico impecável agradável sensacional".split()
BLAME = "ruim péssimo horrível fraco decepcionante terrível desagradável lamentável sofrível".split()
EVEN = "comum normal razoável regular mediano aceitável simples".split()
# (verb in the first person, preposition of the object).
LIKED = (("adorei", ""), ("amei", ""), ("gostei muito", "de"), ("recomendo", ""), ("aprovei", ""), ("elogiei", ""),
         ("gostei bastante", "de"), ("me encantei", "com"))  # fmt: skip
DISLIKED = (("odiei", ""), ("detestei", ""), ("não gostei", "de"), ("não recomendo", ""), ("reclamei", "de"),
            ("não suportei", ""), ("me decepcionei", "com"), ("me irritei", "com"))  # fmt: skip
WHO = ("eu", "minha mãe", "meu pai", "minha irmã", "meu irmão", "meu vizinho", "minha avó", "minha amiga", "meu primo",
       "meu colega", "minha tia", "minha filha", "meu marido", "minha professora")  # fmt: skip
