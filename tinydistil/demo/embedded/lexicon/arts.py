"""Music, reading, cinema and other arts."""

NOUNS = """
músico(person): músico/mf cantor/mf pianista/c violonista/c baterista/c guitarrista/c maestro/m flautista/c
escritor(person): escritor/mf autor/mf poeta/c romancista/c cronista/c
ator(person): ator/mf comediante/c dançarino/mf
diretor(person): diretor/mf cineasta/c produtor/mf
pintor(person): pintor/mf artista/c fotógrafo/mf escultor/mf
leitor(person): leitor/mf crítico/mf
fã(person): fã/c espectador/mf
canção: canção/f música/f samba/m hino/m bolero/m valsa/f cantiga/f
instrumento(own): violão/m piano/m flauta/f guitarra/f violino/m pandeiro/m tambor/m cavaquinho/m sanfona/f
livro_lido: romance/m livro/m conto/m poema/m crônica/f biografia/f peça/f novela/f
filme: filme/m documentário/m comédia/f drama/m desenho_animado/m série/f
arte: quadro/m escultura/f desenho/m gravura/f
show: show/m concerto/m festival/m espetáculo/m recital/m apresentação/f
disco: disco/m
casa_de_show(place): teatro/m cinema/m palco/m bar/m parque/m
galeria(place): museu/m galeria/f ateliê/m exposição/f
livraria(place): livraria/f biblioteca/f sebo/m
personagem(person): personagem/c vilão/m heroína/f herói/m
parte_do_livro: capítulo/m página/f verso/m refrão/m
banda: banda/f orquestra/f coral/m grupo/m
dança(bare): samba/m forró/m tango/m balé/m frevo/m
gênero(bare): samba/m jazz/m rock/m chorinho/m forró/m
prêmio: prêmio/m aplauso/m
estúdio(place): estúdio/m
quarto_som(place): quarto/m sala/f ônibus/m
baile(place): baile/m salão/m praça/f
camarim(place): camarim/m
ensaiado: peça/f espetáculo/m canção/f dança/f
rede_leitura(place): rede/f varanda/f
assunto_livro(bare): amizade/f guerra/f amor/m viagem/f futebol/m
editora(unique): editora/f
editora_pequena(place): editora/f
livro_ou_disco: livro/m disco/m romance/m
sebo_só(place): sebo/m livraria/f
avós(kin): avô/m avó/f
história_contada: história/f lenda/f fábula/f
cinema_só(place): cinema/m
peça_só: peça/f
cena: cena/f final/m
filme_em: filme/m peça/f novela/f
palco_só(place): palco/m
fala: texto/m fala/f papel/m
arte_pintada: retrato/m mural/m paisagem/f
ateliê(place): ateliê/m
desenhado: árvore/f casa/f rosto/m cavalo/m flor/f barco/m
papel(place): papel/m caderno/m
galeria_só(unique): galeria/f
fotógrafo_só(person): fotógrafo/mf
fotografado: paisagem/f praça/f igreja/f festa/f
prêmio_só: prêmio/m
festival_só(place): festival/m
crítico_só(person): crítico/mf
jornal_crítica(place): jornal/m revista/f
show_lota: show/m festival/m
selo: selo/m
paciência_c(bare): paciência/f
entrada: ingresso/m entrada/f
instrumento_geral: instrumento/m
"""

ADJECTIVES = """
músico: famoso talentoso jovem afinado experiente tímido conhecido
escritor: famoso premiado jovem conhecido criativo brilhante
ator: famoso talentoso jovem engraçado conhecido nervoso@
diretor: famoso exigente experiente premiado
pintor: famoso talentoso jovem desconhecido criativo
leitor: atento@ exigente curioso
fã: apaixonado@ emocionado@ animado@ fiel
canção: bonito triste alegre antigo lindo lento romântico famoso
instrumento: novo velho caro afinado@ desafinado@ antigo emprestado@
livro_lido: longo curto triste emocionante engraçado famoso chato interessante bom
filme: longo triste emocionante engraçado brasileiro premiado chato interessante bom
arte: colorido famoso caro antigo belo moderno pequeno
show: lindo lotado@ gratuito longo inesquecível animado@
disco: antigo raro novo bom
casa_de_show: cheio@ vazio@ antigo lotado@ pequeno
galeria: aberto@ cheio@ pequeno moderno fechado@
personagem: misterioso engraçado corajoso cruel
parte_do_livro: longo bonito triste difícil
banda: famoso novo animado@ jovem
"""

FRAMES = """
tocar | P músico | instrumento.b | em casa_de_show ; em banda.i ; !de ouvido ; !desde criança ; em festa
tocar | músico banda | *canção.d canção.i | em casa_de_show ; !no fim do show ; !em homenagem ao público
cantar | músico P criança | *canção.d canção.i | em casa_de_show ; !em voz baixa ; !no chuveiro ; com banda.i
compor | músico | *canção.i canção.q | para parente ; !em uma noite ; !durante a viagem
gravar | músico banda | *disco.i canção.i | em estúdio ; com banda.i ; !em três semanas
ouvir | P fã | *canção.d disco.d | em quarto_som ; !no rádio ; !com fones de ouvido ; !muitas vezes
dançar | P | dança.b | em baile ; com parente nome ; !a noite inteira
afinar | músico | *instrumento.d | !antes do concerto ; !com um aplicativo ; em camarim
ensaiar | banda.d ator músico | *ensaiado.d | em casa_de_show ; !durante a semana ; !até a noite
ler | P leitor | *livro_lido.d livro_lido.i | em livraria ; !antes de dormir ; !em dois dias ; em rede_leitura
escrever | escritor | *livro_lido.i livro_lido.q | sobre assunto_livro ; !à máquina ; !em poucos meses
publicar | escritor editora | *livro_lido.i | em editora_pequena ; !depois de muitos anos
lançar | escritor músico | *livro_ou_disco.i | em livraria ; !com grande festa
terminar | P leitor | *livro_lido.d | !em uma tarde ; !em lágrimas ; !sem pressa
emprestar | P leitor | *livro_lido.i ; para colega nome | !com cuidado ; !por uma semana
comprar | P leitor | *livro_lido.i livro_lido.q | em sebo_só ; para parente ; !com desconto
traduzir | escritor | *livro_lido.d | !do francês ; !do inglês ; !para o português
autografar | escritor | *livro_lido.d | para leitor ; em livraria
contar | avós P professor | *história_contada.i ; para criança.d | !antes de dormir ; !com voz de mistério
ver | P | *filme.d filme.i | em cinema_só ; com parente nome ; !em casa ; !pela segunda vez
assistir | P fã | a show.d filme.d | em casa_de_show ; com parente nome ; !pela primeira vez
dirigir | diretor | *filme.i filme.q peça_só.i | !com pouco dinheiro ; em cidade ; com ator
filmar | diretor | *cena.d | em cidade ; !em um só dia ; !sem dublê
representar | ator | *personagem.i | em filme_em.i ; em palco_só ; !com emoção
decorar | ator | *fala.d | !em uma noite ; !antes do ensaio ; em camarim
emocionar | ator músico filme.d livro_lido.d | *fã.d leitor.d | !até as lágrimas ; !do começo ao fim
aplaudir | fã P | *músico.d ator.d banda.d | !de pé ; em casa_de_show ; !durante dez minutos
pintar | pintor P criança | *arte_pintada.i | em ateliê ; !com tinta a óleo ; !de memória
desenhar | pintor criança P | *desenhado.i | !a lápis ; em papel
expor | pintor | *arte.d | em galeria ; em cidade ; !pela primeira vez
vender | pintor galeria_só | *arte.i | !por um bom preço ; !para um museu ; em galeria
admirar | P fã | *arte.d | em galeria ; !em silêncio ; !por muito tempo
fotografar | fotógrafo_só P | *fotografado.d | em cidade ; !ao amanhecer ; !em preto e branco
ganhar | ator diretor escritor | *prêmio_só.i | !pela primeira vez ; em festival_só ; !por unanimidade
elogiar | crítico_só | *filme.d livro_lido.d ator.d | em jornal_crítica ; !com entusiasmo
criticar | crítico_só | *filme.d livro_lido.d show.d | em jornal_crítica ; !com dureza
lotar | fã show_lota | *casa_de_show.u | !em poucos minutos ; em cidade
colecionar | P fã | disco.p selo.p | !desde a juventude ; com paciência_c.b
comprar | P fã | *entrada.d entrada.q | para show.d filme.d ; !com antecedência
gostar~ | P | de gênero.b | !desde criança ; !mais do que tudo
começar | show.d filme.d | | !às nove horas ; !com atraso ; !na hora marcada
visitar | P | *galeria.u | em cidade ; com parente ; !de graça
decepcionar | filme.d show.d | *fã.d crítico_só.d | !desde o começo ; !por causa do som
"""

SYNONYMS = """
canção música
escritor autor
show espetáculo
entrada ingresso
"""

HYPERNYMS = """
livro: romance conto crônica biografia
filme: documentário comédia drama
canção: samba hino bolero valsa
instrumento: violão piano flauta guitarra violino pandeiro tambor cavaquinho sanfona
"""
