"""Farm, animals and nature."""

NOUNS = """
agricultor(person): agricultor/mf fazendeiro/mf vaqueiro/m lavrador/mf jardineiro/mf
pescador(person): pescador/mf
veterinário(person): veterinário/mf
cientista(person): biólogo/mf cientista/c pesquisador/mf
gado: vaca/f boi/m cavalo/m cabra/f ovelha/f porco/m bezerro/m égua/f
ave: galinha/f pato/m galo/m pintinho/m ganso/m
pássaro: sabiá/m bem-te-vi/m tucano/m arara/f beija-flor/m coruja/f
selvagem: onça/f macaco/m jacaré/m capivara/f tatu/m cobra/f lobo-guará/m tamanduá/m
inseto: abelha/f borboleta/f formiga/f mosquito/m grilo/m
peixe: tilápia/f tambaqui/m pirarucu/m sardinha/f dourado/m
árvore: mangueira/f coqueiro/m ipê/m jabuticabeira/f pinheiro/m laranjeira/f
flor: rosa/f orquídea/f girassol/m margarida/f lírio/m violeta/f
plantação(mass): milho/m soja/f café/m algodão/m feijão/m mandioca/f trigo/m
fazenda(place): fazenda/f sítio/m curral/m roça/f pasto/m horta/f celeiro/m
mato(place): floresta/f mata/f rio/m lagoa/f pantanal/m
máquina(own): trator/m enxada/f carroça/f arado/m
pedra(place): pedra/f
geral: animal/m ave/f inseto/m flor/f árvore/f peixe/m pássaro/m
safra(unique): colheita/f safra/f
semente: semente/f muda/f
horta: alface/f couve/f tomate/m cenoura/f abóbora/f
ninho: ninho/m
filhote: filhote/m
terra(place): terra/f
fazenda_p(place): fazenda/f sítio/m roça/f horta/f
fazenda_m(place): fazenda/f sítio/m
quintal_r(place): quintal/m jardim/m horta/f
leiteira: vaca/f cabra/f
curral_só(place): curral/m
montaria: cavalo/m égua/f burro/m
feira_v(place): feira/f cidade/f mercado/m
fazendeiro_só(person): fazendeiro/mf
trator_só(unique): trator/m
cerca: cerca/f
celeiro_só(place): celeiro/m galpão/m
rio_só(place): rio/m lagoa/f
remédio_v: remédio/m vacina/f pomada/f
raiva_só(bare): raiva/f
armadilha: armadilha/f
estudante_n(person): estudante/c
espécie: espécie/f planta/f fóssil/m
mata_p(unique): floresta/f mata/f
caçador(person): caçador/mf
lugar_dorme(place): mata/f celeiro/m pasto/m
comida_gado(bare): capim/m milho/m ração/f
pasto_só(place): pasto/m
água_só(bare): água/f
grão(bare): milho/m ração/f
botadeira: galinha/f pata/f
ovo: ovo/m
ninho_p(place): ninho/m galinheiro/m
galo_só(unique): galo/m
árvore_c(place): mangueira/f ipê/m pinheiro/m coqueiro/m
inseto_voa: borboleta/f abelha/f
mato_sobre(unique): rio/m lagoa/f floresta/f
perigo(unique): fogo/m onça/f curral/m
onça_só(unique): onça/f
presa_f: capivara/f macaco/m tatu/m
cobra_só(unique): cobra/f
bicho_m: cachorro/m cavalo/m
inseto_pica: abelha/f mosquito/m formiga/f
braço_p(place): braço/m pé/m rosto/m
peixe_nada: tilápia/f dourado/m pirarucu/m
selvagem_nada: jacaré/m capivara/f
abelha_só: abelha/f
jardim_n(place): jardim/m praça/f quintal/m
mel_só(bare): mel/m
colmeia(place): colmeia/f
ave_ninho: sabiá/m bem-te-vi/m coruja/f
telhado_n(place): telhado/m
filhote_n: bezerro/m pintinho/m filhote/m
rio_seca(unique): rio/m lagoa/f
região_seca(unique): Nordeste/m sertão/m interior/m
vaso_n(place): vaso/m
fogo_n(unique): fogo/m seca/f geada/f
praga_n(unique): praga/f
região_n(unique): Norte/m interior/m Sul/m
madeireiro(person): madeireiro/mf
mata_só(place): mata/f floresta/f
limpo_f: celeiro/m curral/m galinheiro/m
cortado(unique): capim/m lenha/f mato/m
sítio_só: sítio/m fazenda/f
"""

ADJECTIVES = """
agricultor: trabalhador experiente cansado@ preocupado@ jovem satisfeito@
pescador: experiente paciente antigo cansado@
veterinário: cuidadoso experiente jovem atencioso
cientista: famoso curioso experiente premiado
gado: gordo magro manso branco bravo doente@ saudável forte
ave: gordo magro branco barulhento
pássaro: colorido raro pequeno azul barulhento
selvagem: perigoso raro rápido assustado@ faminto@ ferido@
inseto: pequeno colorido perigoso
peixe: grande fresco pequeno raro
árvore: alto florido@ antigo carregado@ seco@
flor: vermelho branco amarelo perfumado delicado murcho@
plantação: seco@ verde@ maduro@
fazenda: grande distante produtivo antigo verde@
mato: fechado escuro úmido@ tranquilo
máquina: novo velho quebrado@ caro
horta: fresco verde maduro@
"""

FRAMES = """
criar~ | P agricultor | *gado.p ave.p | em fazenda ; !para vender ; !há muitos anos
plantar | P agricultor | *plantação.b árvore.i | em terra ; !depois da chuva ; em fazenda_p
colher | P agricultor | *plantação.d horta.p fruta.p | em fazenda_p ; !antes da chuva ; !na hora certa ; com parente
regar | P agricultor | *flor.p horta.p árvore.d | !duas vezes por dia ; em quintal_r ; !de manhã cedo
ordenhar | agricultor P | *leiteira.d leiteira.q | em curral_só ; !antes do sol
alimentar | agricultor P | *gado.d ave.d | em fazenda ; !com milho ; !com capim
montar | agricultor P | *montaria.i | em fazenda_m ; !sem sela ; !pela primeira vez
vender | agricultor | *gado.q plantação.d | em feira_v ; !por um bom preço ; para fazendeiro_só
comprar | agricultor | *gado.q máquina.i | em feira_v ; !com um empréstimo ; !de um vizinho
dirigir | agricultor | *trator_só.d | em fazenda_m ; !o dia inteiro
consertar | agricultor | *máquina.d cerca.d | em celeiro_só ; !antes da colheita
pescar | pescador P | *peixe.q peixe.i | em rio_só ; !com rede ; !de madrugada ; com parente
vender | pescador | *peixe.p | em feira_v ; !na beira do rio
tratar | veterinário | *gado.d bicho.d | com remédio_v.i ; em fazenda ; !com carinho
vacinar | veterinário | *gado.p bicho.d | em fazenda ; contra raiva_só.b
salvar | veterinário cientista | *selvagem.i | em mato ; de armadilha.i ; !depois do incêndio
estudar | cientista | *selvagem.p pássaro.p inseto.p | em mato ; !há dez anos ; com estudante_n
fotografar | cientista turista | *selvagem.i pássaro.i flor.i | em mato ; !de longe ; !ao amanhecer
descobrir | cientista | *espécie.i | em mato ; !por acaso ; !depois de anos de pesquisa
proteger | cientista cidadão | *selvagem.p mata_p.d | !com a ajuda dos moradores ; contra caçador.d
observar | P turista | *pássaro.d pássaro.q selvagem.i | em mato ; !em silêncio ; com guia
dormir | gado.d ave.d selvagem.d | | em lugar_dorme ; !debaixo de uma árvore ; !durante o dia
comer | gado.d | comida_gado.b | em pasto_só ; !o dia inteiro ; em curral_só
beber | gado.d selvagem.d | água_só.b | em rio_só ; !no fim da tarde
comer | ave.d | grão.b | em quintal_r ; !depressa
botar | botadeira.d | ovo.k | em ninho_p ; !por semana
cantar | pássaro.d galo_só.d | | em árvore_c ; !ao amanhecer ; !perto da janela
voar | pássaro.d inseto_voa.d | | sobre mato_sobre ; !em bando ; !para longe
fugir | gado.d ave.d selvagem.d | de perigo | !durante a noite ; !com medo
caçar | onça_só.d | presa_f.i | em mato ; !durante a noite ; !em silêncio
atacar | onça_só.d | *gado.i | em pasto_só ; !durante a noite
morder | cobra_só.d | *agricultor.i bicho_m.i | em mato ; !no pé
picar | inseto_pica.i | *criança.i turista.i agricultor.i | em braço_p ; em mato
nadar | peixe_nada.d selvagem_nada.d | | em rio_só ; !contra a correnteza ; !em silêncio
visitar | abelha_só.p | flor.d | em jardim_n ; !em busca de néctar
produzir | abelha_só.p | mel_só.b | em colmeia ; !durante a primavera
construir | ave_ninho.d | *ninho.i | em árvore_c ; !com galhos secos ; em telhado_n
nascer | filhote_n.q | | em fazenda ; !durante a noite ; !na primavera
florescer | árvore.d flor.p | | em jardim_n ; !na primavera ; !depois da chuva
crescer | árvore.d plantação.d | | em fazenda_p ; !depressa ; !sem adubo ; !devagar
secar | rio_seca plantação.d | | !por falta de chuva ; !durante a seca ; em região_seca
murchar | flor.d | | !por falta de água ; em vaso_n ; !em dois dias
destruir | fogo_n praga_n | *plantação.d mata_p.d | em região_n ; !em poucas horas ; !durante a seca
derrubar | madeireiro | *árvore.q árvore.d | em mata_só ; !sem licença ; !com motosserra
limpar | agricultor | *limpo_f.d | !antes da chuva ; !com a ajuda dos filhos
cortar | agricultor P | *cortado.d | !com uma foice ; em fazenda_p
haver~ | | selvagem.q pássaro.q | em mato
haver~ | | gado.q ave.q | em fazenda
haver~ | | árvore.q flor.q | em jardim_n
morar | agricultor pescador | em sítio_só | !perto do rio ; !longe da cidade ; em região_n
"""

SYNONYMS = """
agricultor lavrador
mata floresta
"""

HYPERNYMS = """
animal: vaca boi cavalo cabra ovelha porco onça macaco jacaré capivara tatu tamanduá
ave: galinha pato galo ganso
pássaro: sabiá bem-te-vi tucano arara beija-flor coruja
inseto: abelha borboleta formiga mosquito grilo
flor: rosa orquídea girassol margarida lírio violeta
árvore: mangueira coqueiro ipê jabuticabeira pinheiro laranjeira
peixe: tilápia tambaqui pirarucu sardinha dourado
"""
