"""Family and home."""

NOUNS = """
cômodo(place): sala/f quarto/m banheiro/m corredor/m varanda/f garagem/f escritório/m lavanderia/f
externo(place): quintal/m jardim/m calçada/f pátio/m
móvel(own): sofá/m mesa/f cadeira/f cama/f armário/m estante/f poltrona/f cômoda/f guarda-roupa/m banco/m
enfeite: tapete/m espelho/m cortina/f quadro/m vaso/m luminária/f relógio/m almofada/f
roupa(own): camisa/f calça/f vestido/m casaco/m saia/f blusa/f camiseta/f meia/f bermuda/f jaqueta/f pijama/m
pano: toalha/f lençol/m cobertor/m fronha/f
calçado(own): sapato/m chinelo/m tênis/m sandália/f bota/f
moradia: casa/f apartamento/m residência/f
parte: porta/f janela/f portão/m parede/f muro/m telhado/m
abertura: porta/f janela/f portão/m gaveta/f
bicho(own): cachorro/mf gato/mf coelho/m papagaio/m tartaruga/f passarinho/m cão/m
criança(person): menino/mf bebê/m garoto/mf gêmeo/m
brinquedo(own): boneca/f bola/f carrinho/m quebra-cabeça/m pipa/f bicicleta/f patinete/m urso_de_pelúcia/m
festa: festa_de_aniversário/f casamento/m batizado/m formatura/f
recordação: fotografia/f foto/f carta/f bilhete/m cartão/m álbum/m
presente: anel/m perfume/m colar/m
embrulho: presente/m caixa/f
limpeza(unique): vassoura/f esponja/f escova/f aspirador/m
conserto: chuveiro/m torneira/f geladeira/f ventilador/m fechadura/f lâmpada/f televisão/f rádio/m
conta: conta_de_luz/f conta_de_água/f aluguel/m
guardado(place): armário/m gaveta/f caixa/f mala/f cesto/m
familiar(person): família/f
roupagem: roupa/f
animal: animal/m
aparelho: aparelho/m
pessoa(person): pessoa/f
quarto_de_casa(place): quarto/m cozinha/f
lavanderia_de_casa(place): lavanderia/f
moradia_dele(place): casa/f apartamento/m
móvel_macio: sofá/m cama/f poltrona/f rede/f
assento: sofá/m cadeira/f poltrona/f banco/m
cachorro_só: cachorro/m cachorra/f cão/m
gato_só: gato/m gata/f
móvel_geral: móvel/m
brinquedo_geral: brinquedo/m
"""

ADJECTIVES = """
cômodo: limpo@ escuro amplo arejado bagunçado@ silencioso@ pequeno claro
externo: limpo@ grande florido@ molhado@ pequeno
móvel: novo velho confortável pesado antigo quebrado@ bonito resistente
enfeite: novo velho bonito colorido antigo caro empoeirado@
roupa: novo velho limpo@ sujo@ bonito colorido azul vermelho branco preto verde amarelo molhado@ rasgado@ largo apertado
pano: limpo@ macio branco molhado@ velho novo
calçado: novo velho sujo@ confortável preto marrom branco apertado barato
moradia: bonito amplo antigo confortável pequeno moderno silencioso vazio@
parte: aberto@ fechado@ branco azul pesado velho
bicho: manso brincalhão bonito pequeno preguiçoso assustado@ faminto@ obediente velho
criança: pequeno esperto curioso alegre obediente cansado@ doente@ assustado@ comportado magro
brinquedo: novo colorido quebrado@ caro antigo pequeno divertido
festa: animado inesquecível bonito simples lindo
recordação: antigo bonito amarelado@ emocionante
presente: caro bonito lindo simples delicado
conserto: quebrado@ velho novo moderno barato
conta: caro atrasado@ alto
"""

FRAMES = """
limpar | P | *cômodo.d | com limpeza ; !depois do almoço
varrer | P | *cômodo.d externo.d | !antes do almoço ; !com a vassoura nova
arrumar | P | *quarto_de_casa.d cômodo.d | !antes da festa ; !depois do jantar
lavar | P | *roupa.d pano.d calçado.d | em lavanderia_de_casa ; !na mão ; !com sabão de coco
passar | P | *roupa.d | !a ferro
pintar | P | *parte.d | !de branco ; !de azul ; !de amarelo ; com parente
consertar | P | *conserto.d móvel.d | !com ferramentas emprestadas ; em externo
comprar | P | *móvel.i enfeite.i conserto.i | para moradia_dele ; !em uma loja do centro ; !em dez prestações
comprar | P | *roupa.i calçado.i | para parente nome ; !pela internet ; !em uma loja do centro
vestir | P | roupa.i | !antes de sair ; !para a festa
morar~ | P | em moradia.i | em cidade ; !com a família ; !perto da praia ; !há muitos anos
mudar-se | P | para moradia.i | em cidade ; com parente
dormir | P criança bicho | | em cômodo ; !a tarde inteira ; !até tarde ; !muito bem ; em móvel_macio.u
acordar | P criança | | !cedo ; !com o barulho da rua ; !antes das seis horas ; !de bom humor
levantar-se | P | | !cedo ; !antes de todos ; !às seis da manhã
deitar-se | P criança | | !cedo ; !depois das dez ; em móvel_macio.u
sentar-se | P | | em assento.u ; !perto da janela ; !ao lado da porta
brincar | criança | com brinquedo | em externo cômodo ; com bicho
correr | criança bicho | | em externo ; !atrás da bola ; !pela casa inteira
cuidar | P | de criança.d bicho.d | !com carinho ; !durante a tarde ; em externo
abraçar | P | *parente nome | !com força ; !na despedida ; !na chegada
visitar | P | *parente | em cidade ; !no fim de semana ; !sem avisar
ligar | P | para parente nome | !depois do trabalho ; !para contar a novidade
telefonar | P | para parente nome | !depois do trabalho ; !para dar os parabéns
convidar | P | *parente nome ; para festa.d | !com antecedência ; !por mensagem
abrir | P criança | *abertura.d embrulho.d | !com cuidado ; !sem fazer barulho
fechar | P | *abertura.d | !por causa do vento ; !antes de dormir ; !sem fazer barulho
guardar | P | *roupa.d pano.d brinquedo.d recordação.d | em guardado
esconder | P criança | *presente.d recordação.d | em guardado ; !atrás da porta ; !embaixo da cama
encontrar | P | *recordação.i | em guardado ; !embaixo da cama
mostrar | P | *recordação.d ; para parente nome | em cômodo
ganhar | P criança | *brinquedo.i presente.i | de parente ; !no aniversário ; !no Natal
dar | P | *brinquedo.i presente.i ; para criança.d parente | !no aniversário ; !no Natal
quebrar | criança P | *enfeite.d | !sem querer ; em cômodo
pagar | P | *conta.d | !com atraso ; !pelo celular ; !no banco
alimentar | P | *bicho.d | !duas vezes por dia ; em externo
ter~ | P | bicho.i | em moradia_dele ; !desde a infância
latir | cachorro_só | | em externo ; !para os vizinhos ; !a noite inteira
miar | gato_só | | em externo ; !de fome ; !atrás da porta
chorar | criança | | !de sono ; !de fome ; !sem parar ; em cômodo
haver~ | | enfeite.q móvel.q brinquedo.q | em cômodo
haver~ | | roupa.q pano.q | em guardado
ficar~ | recordação.d roupa.d | | em guardado ; !dentro de uma caixa
"""

SYNONYMS = """
casa residência
menino garoto
menina garota
cachorro cão
comprar adquirir
morar residir
encontrar achar
foto fotografia
consertar reparar
esconder ocultar
"""

HYPERNYMS = """
móvel: sofá mesa cadeira cama armário estante poltrona cômoda
roupa: camisa calça vestido casaco saia blusa camiseta jaqueta
animal: cachorro gato coelho papagaio tartaruga passarinho
aparelho: chuveiro geladeira ventilador televisão rádio
brinquedo: boneca bola carrinho quebra-cabeça pipa
"""
