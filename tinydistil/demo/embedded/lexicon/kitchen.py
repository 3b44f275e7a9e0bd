"""Kitchen, food and restaurants."""

NOUNS = """
prato: sopa/f feijoada/f salada/f lasanha/f omelete/f moqueca/f farofa/f macarronada/f pizza/f risoto/m ensopado/m
ingrediente(mass): arroz/m feijão/m farinha/f açúcar/m sal/m manteiga/f queijo/m carne/f frango/m peixe/m leite/m alho/m azeite/m mel/m
bebida(mass): suco/m café/m chá/m água/f vinho/m cerveja/f refrigerante/m vitamina/f
suco_de(mass): suco_de_laranja/m suco_de_uva/m água_de_coco/f café_com_leite/m chá_de_hortelã/m
fruta: maçã/f banana/f laranja/f manga/f uva/f abacaxi/m melancia/f mamão/m goiaba/f morango/m limão/m caju/m pera/f
legume: cenoura/f batata/f tomate/m cebola/f abóbora/f pepino/m berinjela/f mandioca/f couve/f beterraba/f
doce: bolo/m pudim/m brigadeiro/m torta/f sorvete/m cocada/f biscoito/m bombom/m quindim/m paçoca/f
salgado: pão/m pastel/m coxinha/f pão_de_queijo/m sanduíche/m tapioca/f empada/f esfiha/f
panela: panela/f frigideira/f forma/f travessa/f tigela/f assadeira/f
louça: prato/m copo/m xícara/f pires/m garfo/m colher/f faca/f talher/m jarra/f
recipiente(place): panela/f tigela/f travessa/f geladeira/f forno/m
cozinha(place): cozinha/f despensa/f copa/f
comércio(place): restaurante/m padaria/f lanchonete/f feira/f mercado/m confeitaria/f pizzaria/f churrascaria/f
cozinheiro(person): cozinheiro/mf padeiro/mf confeiteiro/mf chef/c
garçom(person): garçom/mf
freguês(person): cliente/c freguês/mf
receita: receita/f
massa(mass): farinha/f açúcar/m manteiga/f leite/m mel/m fermento/m
cozido_de(mass): arroz/m feijão/m carne/f frango/m peixe/m
refeição(unique): almoço/m jantar/m lanche/m café_da_manhã/m
tempero(mass): coentro/m salsinha/f pimenta/f orégano/m canela/f manjericão/m
cardápio(unique): cardápio/m conta/f sobremesa/f
mercadoria: comida/f doce/m fruta/f bebida/f legume/m
refeição_no(unique): almoço/m jantar/m
forno_só(unique): forno/m
óleo(mass): óleo/m azeite/m
tigela_só: tigela/f travessa/f
prato_de_servir: prato/m travessa/f
feira_só(place): feira/f mercado/m quitanda/f
padeiro_só(person): padeiro/mf
feirante(person): feirante/c vendedor/mf
pia_só(unique): pia/f
mesa_só: mesa/f
conta_só(unique): conta/f
restaurante_só(place): restaurante/m pizzaria/f churrascaria/f
mesa_posta(unique): mesa/f
panela_só(unique): panela/f
bebida_quente(unique): leite/m água/f chá/m
"""  # noqa: E501

ADJECTIVES = """
prato: quente@ frio@ gostoso@ delicioso@ salgado@ apimentado@ caseiro leve saboroso@ pronto@
ingrediente: fresco barato caro
bebida: gelado@ quente@ doce
fruta: maduro@ verde@ doce azedo@ fresco barato caro
legume: cru@ cozido@ fresco barato picado@
doce: gostoso@ delicioso@ caseiro recheado macio@ saboroso@ enorme
salgado: quente@ frio@ gostoso@ crocante@ fresco recheado
panela: novo grande limpo@ quente@ velho
louça: limpo@ sujo@ quebrado@ novo
cozinha: limpo@ pequeno moderno arejado
comércio: novo barato caro cheio@ vazio@ fechado@ simples famoso aberto@
cozinheiro: experiente famoso talentoso ocupado@ cansado@ paciente jovem
garçom: educado simpático atencioso cansado@ apressado@ novo
freguês: satisfeito@ exigente antigo simpático impaciente@ novo
receita: fácil difícil antigo simples famoso
refeição: pronto@ gostoso@ simples atrasado@
"""

FRAMES = """
comer | P freguês | *prato fruta doce salgado | em comércio cozinha ; !depois do jantar ; !sem pressa ; !com vontade
comer | P | cozido_de.b ; com legume.p | em refeição_no.u ; em cozinha
beber | P freguês | bebida suco_de | em comércio ; !depois da corrida ; !bem devagar ; !em um copo grande
tomar | P freguês | bebida.b suco_de.b | em comércio cozinha ; !antes de sair ; !no café da manhã
preparar | P cozinheiro | *prato doce | para parente freguês ; em cozinha ; !com uma receita nova ; com tempero.b
fazer | P cozinheiro | *doce.i prato.i | para parente ; !para o aniversário ; em cozinha ; !com muito carinho
assar | P cozinheiro | *doce salgado | em forno_só ; !durante uma hora ; !em fogo baixo
cozinhar | P cozinheiro | *legume.d cozido_de.d | em panela.i ; !em fogo baixo ; com tempero.b ; !por vinte minutos
fritar | P cozinheiro | *salgado.d legume.d | em óleo.b ; !em uma frigideira velha
cortar | P cozinheiro | *legume.d fruta.d doce.d | !com uma faca afiada ; !em pedaços pequenos ; !em fatias
descascar | P cozinheiro | *legume.d fruta.d | !com cuidado ; em cozinha ; !antes do almoço
misturar | P cozinheiro | *massa.d ; com massa.d | em tigela_só ; !com uma colher grande ; !devagar
colocar | P cozinheiro | *tempero.b ingrediente.b ; em prato.d | !aos poucos ; !no fim
provar | P cozinheiro freguês | *prato.d doce.d | !antes de servir ; !com uma colher ; !pela primeira vez
servir | P garçom | *refeição.d prato.d bebida.d | para freguês parente ; !na hora certa ; em prato_de_servir.i
trazer | garçom | *cardápio prato.d bebida.d | para freguês ; !depois de alguns minutos ; !com um sorriso
pedir | P freguês | *prato.i salgado.i bebida.b | em comércio ; para garçom ; !pelo telefone
experimentar | P freguês | *prato.i doce.i | em comércio ; !em uma viagem
comprar | P cozinheiro | *fruta.p legume.p salgado.p | em feira_só ; !para a semana ; !por um bom preço
vender | padeiro_só feirante | *salgado.p doce.p | em comércio ; !a preço baixo ; para freguês
escolher | P freguês | *fruta.d doce.d | em feira_só ; !com atenção
lavar | P | *louça.d panela.d | !depois do almoço ; !com água quente ; em pia_só
quebrar | P garçom | *louça.i | !sem querer ; em cozinha
almoçar | P | | em comércio ; com parente nome ; !ao meio-dia ; !em casa
jantar | P | | em comércio ; com parente nome ; !às oito horas ; !fora
reservar | P freguês | *mesa_só.i | em restaurante_só ; !para quatro pessoas ; !para o jantar
pagar | P freguês | *conta_só.d | !com cartão ; !em dinheiro ; em comércio
reclamar | freguês P | de prato.d refeição.d | com garçom ; !em voz alta
elogiar | freguês P | *prato.d cozinheiro.d doce.d | em comércio ; !várias vezes
seguir | P cozinheiro | *receita.d | !passo a passo ; !sem errar ; de parente
aprender | P cozinheiro | *receita.i | com parente ; !na televisão
gostar~ | P | de prato.p fruta.p doce.p | !desde a infância ; com bebida.b
cheirar~ | prato.d doce.d | | !muito bem ; !a canela ; !a coentro
queimar | P cozinheiro | *doce.d prato.d | !por descuido ; em forno_só
esfriar | prato.d bebida.d | | em mesa_posta ; !depressa
ferver | bebida_quente.d | | em panela_só ; !há cinco minutos
pôr | P garçom | *louça.d ; em mesa_posta | !antes do jantar ; !com cuidado
haver~ | | fruta.q salgado.q doce.q | em mesa_posta ; em cozinha
"""

SYNONYMS = """
cliente freguês
escolher selecionar
elogiar louvar
"""

HYPERNYMS = """
fruta: maçã banana laranja manga uva abacaxi melancia mamão goiaba morango pera
doce: bolo pudim brigadeiro torta sorvete cocada quindim bombom
legume: cenoura batata tomate cebola abóbora pepino berinjela beterraba
comida: sopa feijoada salada lasanha omelete moqueca pizza risoto
"""
