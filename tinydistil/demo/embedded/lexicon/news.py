"""Politics and news."""

NOUNS = """
político(person): prefeito/mf governador/mf presidente/c ministro/mf senador/mf vereador/mf candidato/mf
parlamentar(person): deputado/mf senador/mf vereador/mf parlamentar/c
jornalista(person): jornalista/c repórter/c apresentador/mf
cidadão(person): cidadão/mf morador/mf eleitor/mf contribuinte/c
juiz_de_direito(person): juiz/mf promotor/mf advogado/mf
polícia(person): policial/c delegado/mf bombeiro/mf
suspeito(person): suspeito/mf acusado/mf
órgão(unique): prefeitura/f governo/m congresso/m assembleia/f câmara/f ministério/m tribunal/m
lei: lei/f projeto/m decreto/m emenda/f reforma/f norma/f
imposto: imposto/m taxa/f tarifa/f
obra: obra/f hospital/m escola/f ponte/f creche/f estrada/f praça/f viaduto/m
notícia: notícia/f reportagem/f manchete/f entrevista/f artigo/m
jornal: jornal/m revista/f
denúncia: denúncia/f crime/m fraude/f assalto/m incêndio/m
protesto: protesto/m greve/f manifestação/f
eleição: eleição/f debate/m votação/f campanha/f
verba(mass): dinheiro/m verba/f orçamento/m
assunto(mass): saúde/f educação/f segurança/f transporte/m moradia/f emprego/m economia/f inflação/f
decisão: decisão/f medida/f proposta/f acordo/m plano/m
documento: documento/m relatório/m contrato/m
político_geral(person): político/mf
lugar_público(place): praça/f prefeitura/f câmara/f tribunal/m capital/f bairro/m
obra_nova: obra/f programa/m creche/f biblioteca/f hospital/m
emprego_mais: plano/m reforma/f
entrevista_em: entrevista/f coletiva/f
debate_em: debate/m
bairro_só(place): bairro/m centro/m periferia/f
segunda_votação(place): plenário/m
plenário(place): plenário/m câmara/f
câmara_só(unique): câmara/f assembleia/f congresso/m
eleição_em(place): eleição/f
órgão_obra(unique): prefeitura/f governo/m
político_chefe(person): prefeito/mf governador/mf presidente/c
lei_decreto: decreto/m acordo/m contrato/m
cerimônia(place): cerimônia/f gabinete/m
salário_só: salário/m
gasto: gasto/m despesa/f
jornal_em(unique): jornal/m
rádio_só(place): rádio/f
praça_só(place): praça/f
jornal_só: jornal/m revista/f
primeira_página(place): capa/f primeira_página/f
resultado: resultado/m pesquisa/f
celular_só(place): celular/m
noticiário(unique): noticiário/m jornal/m
polícia_só(unique): polícia/f
promotor_só(person): promotor/mf
policial_só(person): policial/c delegado/mf
casa_só(place): casa/f rodoviária/f aeroporto/m
bombeiro_só(person): bombeiro/m
fogo: incêndio/m
morador_só(person): morador/mf
juiz_só(person): juiz/mf
caso: caso/m crime/m
tribunal_só(place): tribunal/m
acusação: acusação/f denúncia/f
trabalhador_só(person): trabalhador/mf estudante/c professor/mf
moradia_b(bare): moradia/f saúde/f educação/f emprego/m
serviço: serviço/m transporte/m
prefeitura_só(place): prefeitura/f
manifestante(person): manifestante/c grevista/c
rua_via: rua/f avenida/f rodovia/f
candidato_só(person): candidato/mf
eleição_só(unique): eleição/f
capital_só(place): capital/f
bairro_v: bairro/m
verba_só(unique): verba/f
preço(unique): inflação/f desemprego/m preço_da_gasolina/m preço_do_gás/m
denúncia_crime: crime/m fraude/f esquema/m
acidente: acidente/m
rodovia_só(place): rodovia/f avenida/f
"""

ADJECTIVES = """
político: honesto popular experiente corrupto jovem conservador eleito@ preocupado@ reeleito@
parlamentar: experiente influente ausente@ jovem
jornalista: famoso experiente sério corajoso
cidadão: indignado@ preocupado@ satisfeito@ antigo cansado@
juiz_de_direito: rigoroso experiente justo
polícia: experiente corajoso ferido@ atento@
suspeito: preso@ foragido@ inocente culpado
lei: novo importante polêmico justo injusto aprovado@
imposto: alto novo injusto caro
obra: caro atrasado@ pronto@ parado@ importante
notícia: falso importante longo triste recente
jornal: antigo local
denúncia: grave recente
protesto: pacífico grande violento longo
eleição: disputado importante próximo
decisão: difícil importante polêmico urgente final
documento: falso importante longo secreto assinado@
"""

FRAMES = """
anunciar | político órgão | *decisão.i obra_nova.i | em entrevista_em.i ; para cidadão.d ; em cidade
inaugurar | político | *obra_nova.i obra.i | em cidade ; !com dois anos de atraso ; em bairro_só
prometer | político | *obra_nova.i emprego_mais | para cidadão.d ; em debate_em.u ; !durante a campanha ; em cidade
construir | órgão_obra político | *obra.i obra.q | em cidade ; em bairro_só ; !com verba federal
aprovar | câmara_só parlamentar | *lei.d lei.i | !por unanimidade ; !depois de longo debate ; em segunda_votação
discutir | câmara_só parlamentar político | *lei.d decisão.d | !com os moradores ; !até a madrugada ; em plenário
votar | cidadão P | em político.d | em eleição_em ; !pela primeira vez ; !de manhã cedo
votar | parlamentar | contra lei.d | em plenário ; !sem explicação
assinar | político | *documento.d lei_decreto.i | em cerimônia ; !diante da imprensa
vetar | político_chefe | *lei.d | !por falta de verba ; !na última hora
aumentar | órgão_obra político_chefe | *imposto.d salário_só.d | !em dez por cento ; !a partir de janeiro
reduzir | órgão_obra político_chefe | *imposto.d gasto.d | !pela metade ; !a partir de março
pagar | cidadão P | *imposto.d | !em dia ; !com atraso ; !em cinco parcelas
cobrar | órgão_obra | *imposto.i | de cidadão.d ; !todo ano
criticar | jornalista parlamentar cidadão | *decisão.d lei.d político.d | em jornal_em.u ; em entrevista_em.i ; !com dureza
defender | político parlamentar | *lei.d decisão.d | em entrevista_em.i ; em debate_em.u ; !com bons argumentos
entrevistar | jornalista | *político.d cidadão.d | em rádio_só ; !ao vivo ; em praça_só
publicar | jornal_só.d jornalista | *notícia.i notícia.d | em primeira_página ; !sobre a crise ; !no domingo
divulgar | jornal_só.d órgão_obra | *documento.d notícia.i resultado.d | !pela internet ; !com detalhes
escrever | jornalista | *notícia.i | sobre assunto.d ; sobre denúncia.d ; em jornal_em.u
ler | P cidadão | *notícia.d jornal_só.d | em celular_só ; !no café da manhã ; !no ônibus
assistir | P cidadão | a debate_em.d noticiário | !pela televisão ; com parente
falar | político jornalista | sobre assunto.d | em debate_em.u ; em entrevista_em.i ; em rádio_só
investigar | polícia_só promotor_só | *denúncia.d político.d | !em segredo ; !durante meses ; em cidade
prender | polícia_só policial_só | *suspeito.d suspeito.i | em casa_só ; !em flagrante ; !durante a madrugada
apagar | bombeiro_só | *fogo.d | em bairro_só ; !em duas horas ; !com a ajuda dos vizinhos
salvar | bombeiro_só | *criança.i morador_só.i | de fogo.d ; !com uma corda ; !durante a enchente
julgar | juiz_só | *suspeito.d caso.d | em tribunal_só ; !com imparcialidade
absolver | juiz_só | *suspeito.d | !por falta de provas ; em tribunal_só
condenar | juiz_só | *suspeito.d | em tribunal_só ; !a cinco anos de prisão ; !por fraude
negar | suspeito político | *acusação.d | em entrevista_em.i ; !diante do juiz
participar | P cidadão | de protesto | em cidade ; em praça_só ; com colega
organizar | cidadão trabalhador_só | *protesto.i | em praça_só ; contra imposto.d ; por moradia_b.b
reclamar | cidadão P | de imposto.d serviço.d | em prefeitura_só ; !pelo telefone ; !em voz alta
fechar | manifestante | *rua_via.d | !durante a greve ; em cidade ; !por duas horas
ganhar | candidato_só | *eleição_só.d | !no primeiro turno ; !com folga ; em cidade
perder | candidato_só | *eleição_só.d | !por poucos votos ; em capital_só
visitar | político | *obra.d bairro_v.d | em cidade ; !com assessores ; !antes da eleição
cortar | órgão_obra político_chefe | *gasto.d verba_só.d | de serviço ; !sem aviso
investir | órgão_obra | em assunto | !cada vez mais ; em cidade
subir~ | preço.d | | em cidade ; !mais uma vez ; !por causa da seca
cair~ | preço.d | | em cidade ; !pela segunda vez ; !depois da safra
acompanhar | cidadão jornalista | *eleição.d protesto.d | em praça_só ; !com atenção ; !de perto
denunciar | cidadão jornalista | *denúncia_crime.i | !à polícia ; em jornal_em.u ; !com provas
haver | | protesto.i | em lugar_público ; em cidade
haver | | acidente.i | em rodovia_só ; !perto da ponte
"""  # noqa: E501

SYNONYMS = """
deputado parlamentar
lei norma
protesto manifestação
construir erguer
aumentar elevar
reduzir diminuir
suspeito acusado
"""

HYPERNYMS = """
político: prefeito governador presidente ministro senador vereador deputado
documento: contrato relatório
obra: ponte creche viaduto
"""
