"""Football and other games."""

NOUNS = """
jogador(person): jogador/mf atacante/c zagueiro/mf lateral/c volante/c atleta/c artilheiro/mf
goleiro(person): goleiro/mf arqueiro/mf
técnico(person): técnico/mf treinador/mf auxiliar/c
juiz(person): juiz/mf árbitro/mf bandeirinha/c
torcedor(person): torcedor/mf torcida/f
time: time/m equipe/f seleção/f
jogo: jogo/m partida/f clássico/m amistoso/m final/f semifinal/f
torneio(unique): campeonato/m copa/f torneio/m liga/f taça/f
gol: gol/m pênalti/m escanteio/m falta/f
lance: passe/m drible/m cruzamento/m lançamento/m chute/m
estádio(place): estádio/m campo/m vestiário/m ginásio/m
bola(unique): bola/f
cartão: cartão_amarelo/m cartão_vermelho/m
uniforme(own): camisa/f chuteira/f luva/f uniforme/m bandeira/f faixa/f
ingresso: ingresso/m
treino: treino/m
posição(unique): ataque/m defesa/f meio-campo/m lateral/f
lesão: lesão/f pancada/f
vitória: vitória/f derrota/f empate/m título/m
placar(bare): zero/m
repórter(person): repórter/c narrador/mf comentarista/c
contrato: contrato/m proposta/f
jogo_final: jogo/m partida/f final/f clássico/m amistoso/m
time_rival(unique): rival/m adversário/m líder/m visitante/m
time_torcido(unique): time_da_cidade/m seleção/f clube_do_bairro/m
seleção_só(unique): seleção/f
clube_só: clube/m
chute_só: chute/m cruzamento/m
pênalti_só: pênalti/m
chance: chance/f gol/m
cobrança(unique): pênalti/m falta/f escanteio/m
bola_jogo(bare): bola/f futebol/m vôlei/m basquete/m
quadra_rua(place): quadra/f rua/f praia/f campo/m parque/m
amigo_time(person): amigo/mf colega/c
lance_treino: passe/m cruzamento/m chute/m falta/f pênalti/m
campo_só(place): campo/m
falta_só: falta/f pênalti/m
gol_só(unique): gol/m
jornal_esporte(place): jornal/m
vestiário_só(place): vestiário/m
estádio_só(place): estádio/m
torcedor_só(unique): torcida/f
arquibancada_só(place): arquibancada/f
loja_time(place): loja_do_clube/f
treino_só(unique): treino/m
fase(unique): final/f semifinal/f próxima_fase/f
"""

ADJECTIVES = """
jogador: rápido forte habilidoso experiente jovem cansado@ machucado@ talentoso veloz caro suspenso@
goleiro: alto seguro experiente atento@ jovem nervoso@ machucado@
técnico: exigente experiente calmo irritado@ satisfeito@ novo estrangeiro
juiz: rigoroso experiente jovem atento@ confuso@
torcedor: fanático animado@ nervoso@ triste@ feliz@ apaixonado@
time: forte fraco rápido ofensivo organizado jovem entrosado@ desfalcado@ invicto@
jogo: difícil equilibrado emocionante decisivo violento chato fácil disputado
gol: bonito decisivo impedido@ contestado
lance: bonito perfeito longo preciso
estádio: cheio@ vazio@ lotado@ moderno antigo molhado@
uniforme: novo branco vermelho azul verde listrado rasgado@
ingresso: caro barato esgotado@
treino: longo leve pesado puxado
lesão: grave leve
vitória: justo merecido importante inesperado
repórter: experiente conhecido jovem
contrato: longo milionário vantajoso
"""

FRAMES = """
marcar | jogador time.d | *gol.q gol.i | em jogo_final.d ; contra time_rival ; !no último minuto ; !de cabeça ; !no segundo tempo
defender | goleiro | *chute_só.i pênalti_só.i | !com as duas mãos ; !no primeiro tempo ; !com o pé
perder | jogador | *pênalti_só.i chance.i | !na frente do goleiro ; !no fim do jogo
cobrar | jogador | *cobrança.d | !com força ; !no canto esquerdo ; !por cima do gol
ganhar | time.d jogador seleção_só.d | *jogo.d torneio | contra time_rival ; !por dois a um ; !nos pênaltis ; !fora de casa
perder | time.d seleção_só.d | *jogo.d | para time_rival ; !por um a zero ; !em casa ; !na prorrogação
vencer | time.d seleção_só.d | *jogo.d torneio | !com facilidade ; !de virada ; em estádio_só
empatar | time.d seleção_só.d | com time_rival | !em casa ; !sem gols ; em estádio_só
disputar | time.d seleção_só.d jogador | *jogo.d torneio | em cidade ; !com reservas ; em estádio_só
jogar | P jogador criança | bola_jogo.b | em quadra_rua ; com amigo_time ; !debaixo de chuva ; !depois da escola
treinar | jogador time.d | lance_treino.p | em campo_só ; !de manhã cedo ; com técnico
correr | jogador | | em campo_só ; !atrás da bola ; !até o fim do jogo
passar | jogador | *bola ; para jogador | !de calcanhar ; !com precisão ; !pela direita
chutar | jogador criança | *bola | !de fora da área ; !para longe ; !no travessão
driblar | jogador | *goleiro.d jogador.d | !dentro da área ; !com um toque
apitar | juiz | *jogo.d falta_só.i | !com rigor ; em estádio_só
expulsar | juiz | *jogador técnico.d | !no segundo tempo ; !por reclamação
mostrar | juiz | *cartão.d ; para jogador | !sem hesitar ; !aos vinte minutos
marcar | juiz | *falta_só.i | !perto da área ; contra time.d
anular | juiz | *gol_só.d | !por impedimento ; !com a ajuda do vídeo
reclamar | jogador técnico torcedor | de juiz.d | !em voz alta ; !depois do jogo
escalar | técnico | *jogador.d | em posição ; !no lugar do capitão
substituir | técnico | *jogador.d goleiro.d | !no intervalo ; !por causa da lesão
elogiar | técnico repórter | *jogador.d goleiro.d time.d | !depois da vitória ; !na entrevista
criticar | repórter torcedor técnico | *time.d jogador.d juiz.d | !no rádio ; !depois da derrota ; em jornal_esporte
entrevistar | repórter | *jogador.d técnico.d | em vestiário_só ; !depois do jogo ; !à beira do campo
narrar | repórter | *jogo.d | !com emoção ; !pelo rádio
comemorar | jogador torcedor time.d | *gol_só.d vitória.d | com torcedor_só ; em estádio_só ; !até de madrugada
comprar | torcedor P | *ingresso.d ingresso.q | para jogo.d ; !pela internet ; !na bilheteria
comprar | torcedor P | *uniforme.i | de time_torcido.u ; em loja_time
contratar | clube_só.d | *jogador técnico.i | !por três anos ; !para a próxima temporada
assinar | jogador técnico | *contrato.i | com clube_só.d ; !por dois anos
vender | clube_só.d | *jogador ingresso.p | !por muito dinheiro ; !antes do prazo
torcer~ | P torcedor | por time_torcido.d | !desde criança ; !com paixão ; com parente
torcer | P | contra time_rival | !em frente à televisão
assistir | P torcedor | a jogo.d | em estádio_só ; !pela televisão ; com amigo_time
ir | P torcedor | a estádio_só | com amigo_time parente ; !de ônibus ; !para ver a final
gritar | torcedor técnico | | em estádio_só ; !o nome do goleiro ; !do começo ao fim
cantar | torcedor_só.d | | em arquibancada_só ; !o hino do clube ; !durante o jogo inteiro
machucar-se | jogador goleiro | | em treino_só jogo_final.d ; !no joelho ; !no primeiro tempo
sofrer | jogador goleiro | *lesão.i | em treino_só ; !na perna direita ; !no joelho
classificar-se | time.d seleção_só.d | para fase | !com antecedência ; !na última rodada
terminar | jogo.d | | !em empate ; !com vitória do visitante ; !sem gols ; !depois da meia-noite
"""  # noqa: E501

SYNONYMS = """
time equipe
jogo partida
goleiro arqueiro
técnico treinador
jogador atleta
comemorar festejar
"""

HYPERNYMS = """
jogador: atacante zagueiro lateral volante goleiro
jogo: clássico amistoso final semifinal
"""
