"""Floor 1: the frequent words by which languages are told apart, compiled by hand for this project.

Three tiers a language: words of about 2 %, 0.3 % and 0.05 % of running text. Rates of single words differ
from their tier's by a factor of three or so, which matters little against the factor of a hundred and more
between a word that a language has and one that it has not. All is in lower case.
"""

LANGUAGES = ("pt", "es", "gl", "ca", "en", "it", "fr", "de")
TIER_RATES = (0.02, 0.003, 0.0005)
# What a language's text holds of a word that is not its own: names, quotations, misprints.
FOREIGN_RATE = 0.00003

WORDS: dict[str, tuple[str, str, str]] = {
    "pt": (
        "de a o que e do da em um para é com não uma os no se na por mais as dos",
        """como mas foi ao ele das tem à seu sua ou ser quando muito há nos já está eu também só pelo pela
        até isso ela entre era depois sem mesmo aos ter seus quem nas me esse eles estão você tinha
        foram essa num nem suas meu às minha têm numa pelos elas havia seja qual será nós tenho lhe
        deles essas esses pelas este fosse dele são""",
        """tu te vocês vos lhes meus minhas teu tua teus tuas nosso nossa nossos nossas dela delas esta
        estes estas aquele aquela aqueles aquelas isto aquilo estou estamos esteve estava estavam sou
        somos fui eram sido sendo tido temos tinham vai vão vou pode podem deve devem fazer faz fez
        feito dizer disse diz assim então agora ainda onde aqui ali lá cada outro outra outros outras
        todo toda todos todas tudo nada sempre nunca porque pois portanto porém contudo sobre sob após
        antes durante desde contra segundo bem mal melhor maior menor ano anos dia dias vez vezes coisa
        coisas gente homem mulher casa vida tempo mundo parte forma pessoas governo estado país brasil
        presidente senhor senhora deus quer ver cujo cuja enquanto embora apenas talvez quase através
        além uns umas dois duas três muitos muitas pouco tanto tão logo hoje ontem amanhã alguém ninguém
        algum alguma nenhum nenhuma qualquer mim si comigo dessa desse deste desta nesta neste nesse
        nessa daquele naquele nisso disso noite olhos mãe pai filho filha trabalho água cidade rua novo
        nova grande algo los las sul via ti hora horas lugar livro padre madre bom boa come polo d ó lo la""",
    ),
    "es": (
        "de la que el en y a los se del las un por con no una su para es al",
        """lo como más o pero sus le ya este sí porque esta entre cuando muy sin sobre también me hasta hay
        donde quien desde todo nos durante todos uno les ni ese eso ante ellos esto mí antes algunos qué
        unos yo otro otras otra él esa estos mucho quienes nada muchos cual poco ella fue era son ha han
        había ser está están tiene si""",
        """años año día días ciudad vida así dos tres gobierno país siempre nunca ahora entonces aquí allí
        después además aunque mientras hacer hace hizo dijo dice puede pueden según cada mismo misma
        hombre mujer mundo tiempo niños niño casa calle bien mejor gran nuestro nuestra nuestros usted
        ustedes nosotros vosotros tú mi mis tu tus te he hemos eran fueron sido siendo tenía tienen
        quiere quiero voy va vamos hoy ayer mañana aún solo sólo cómo dónde cuándo quién cuyo lugar hijo
        hija señor señora agua noche trabajo contra tan otros dios padre madre nuevo nueva parte forma
        personas estado presidente veces vez hecho algo nadie cosas cosa gente amor muerte guerra
        corazón luz verdad siglo poder cualquier alguien todavía jamás quizá quizás tal sea sino hacia
        ver dar decir saber buen bueno buena malo único libertad ojos mal vale""",
    ),
    "gl": (
        "de a o que e do da en un para é con non unha os no se na por máis as dos",
        """como pero foi ao el das ten á seu súa ou ser cando moi hai nos xa está eu tamén só polo pola ata
        iso ela entre era despois sen mesmo aos ter seus quen nas me ese eles están ti tiña foron esa
        nun nin súas meu ás miña teñen nunha polos elas había sexa cal será nós teño lle deles este dun
        dunha co coa cos coas ó ós lles polas son""",
        """xente xeito galego galega galicia cidade hoxe onte mañá aquí alí aínda agora sempre nunca porque
        pois logo antes durante desde contra segundo ben mal mellor maior menor ano anos día días vez
        veces vida tempo mundo parte forma persoas goberno estado país señor señora deus outro outra
        outros outras todo toda todos todas nada cada facer fai fixo feito dicir dixo pode poden debe
        deben vai van vou somos eran sido sendo temos tiñan algunha algún ningún ningunha calquera min
        vostede esta estes estas aquel aquela isto aquilo dous dúas tres moitos moitas pouco tanto tan
        quizais lonxe preto noite traballo auga fillo filla home muller rúa escola neno nena nenos novo
        nova grande casa lingua""",
    ),
    "ca": (
        "de la el i a que en un per una és amb les els no es del al l",
        """d com més però va són seu seva aquest aquesta o ha hi ser també molt quan on sense fins tot tots
        perquè ja si li dels als pel pels seus seves entre era han havia jo ell ella ens us em et
        aquests ni sobre després això""",
        """anys any dia dies ciutat vida així dos tres govern país sempre mai ara llavors aquí allà encara
        mentre fer fa va fet dir diu pot poden cada mateix home dona món temps nens nen casa carrer bé
        millor gran nostre nostra vostè nosaltres vosaltres avui ahir demà només lloc fill filla senyor
        senyora aigua nit treball llibre contra tan altres altre altra res algun alguna cap gent molts
        moltes poc part estat""",
    ),
    "en": (
        "the of and to in a is that for it as was with be by on not he i this you",
        """his but at are have had from or they which were her she all would there their we him been has
        when who will more if no out so said what up its about into than them can only other new some
        could time these my do an s t""",
        """two may then first any now such like our over me even most made after also did many before must
        through back years where much your way well down should because each just those people mr how
        too little state good very make world still own see men work long get here between both life
        being under never day same another know while last might us great old year off come since
        against go came right used take three use using file click copyright need want""",
    ),
    "it": (
        "di che e la il un a per in una è non del i della sono con le si da l",
        """come al nel più gli alla lo dei ma dal anche se delle ha o su dell all nell nella degli mi ci ne
        cui quello questo questa essere tra era stato suo sua due molto quando dopo così d c ai dalla
        sul sulla nei alle""",
        """sempre senza tutti tutto fatto anni ancora prima loro lui lei io ho hai abbiamo hanno fu solo
        ogni anno giorno vita mondo tempo casa città uomo donna parte modo governo paese stato oggi ieri
        domani qui là poi già mai bene meglio grande nostro nostra noi voi tu te me suoi sue mio mia
        questi queste quella quelli dove chi perché però mentre fare fa detto dire può possono deve
        bambini strada lavoro acqua notte libro figlio signore signora molti poco altro altri altra
        contro dio padre madre nuovo nuova""",
    ),
    "fr": (
        "de la le et les des en un du une que est pour qui dans il l d a par",
        """plus pas au sur ne se ce sont avec son ses ou cette être aux comme mais on nous elle été deux
        même leurs ont fait sa leur tout ces bien sans peut entre très je vous était avait si qu n s c j
        y où dont ils""",
        """aussi encore toujours jamais maintenant alors ici là après avant pendant depuis contre selon
        chaque autre autres tous toute toutes rien quelque peu beaucoup trop ans an jour jours vie temps
        monde homme femme maison ville rue enfant enfants gouvernement pays état aujourd hui hier demain
        notre nos votre vos mon ma mes ton ta tes moi toi lui eux elles faire dire dit peuvent doit
        doivent suis es sommes êtes étaient fut avoir ai as avons avez quand pourquoi comment parce
        travail eau nuit livre fils fille monsieur madame dieu père mère nouveau nouvelle""",
    ),
    "de": (
        "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als",
        """auch es an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen
        so zum war haben nur oder aber vor zur bis mehr durch man sein wurde ich wir ihr was wenn""",
        """kann gegen vom können schon habe seine ihre dann unter soll eines jahr zwei jahren diese dieser
        wieder keine seiner worden will zwischen immer sagte gibt alle ohne sehr hier heute doch muss
        jetzt mann frau leben zeit welt haus stadt straße kinder arbeit wasser nacht buch gott vater
        mutter neu""",
    ),
}

# Spellings, counted wherever they stand, with their occurrences per word in the languages that have them;
# the others are given the last number.
SPELLINGS: tuple[tuple[str, dict[str, float], float], ...] = (
    ("ã", {"pt": 0.03}, 0.0001),
    ("õ", {"pt": 0.006}, 0.00003),
    ("lh", {"pt": 0.012}, 0.0002),
    ("nh", {"pt": 0.012, "gl": 0.006}, 0.0003),
    ("ñ", {"es": 0.01, "gl": 0.012}, 0.00003),
    ("ción", {"es": 0.01, "gl": 0.009}, 0.00003),
    ("ll", {"es": 0.02, "gl": 0.01, "ca": 0.02, "en": 0.015, "it": 0.03, "fr": 0.02, "de": 0.01}, 0.0008),
    (" xe", {"gl": 0.006, "ca": 0.001}, 0.0001),
    (" xu", {"gl": 0.003}, 0.0001),
    # Names bring these into any language, so they prove little.
    ("th", {"en": 0.05, "de": 0.004, "fr": 0.004}, 0.003),
    ("w", {"en": 0.02, "de": 0.02}, 0.003),
    ("k", {"en": 0.02, "de": 0.03}, 0.004),
    ("ç", {"pt": 0.01, "fr": 0.004, "ca": 0.004}, 0.00003),
    ("ss", {"es": 0.0002, "gl": 0.0002}, 0.012),
    ("ón", {"es": 0.012, "gl": 0.009}, 0.00005),
    ("dad ", {"es": 0.006}, 0.00005),
    ("ie", {"es": 0.05, "de": 0.06, "fr": 0.025, "it": 0.025, "en": 0.015}, 0.008),
    ("ê", {"pt": 0.006, "fr": 0.006}, 0.00003),
    ("è", {"fr": 0.012, "it": 0.02, "ca": 0.01}, 0.00003),
    ("ü", {"de": 0.02}, 0.0001),
    ("zion", {"it": 0.012}, 0.0001),
    ("ò", {"it": 0.006, "ca": 0.004}, 0.00003),
    ("ù", {"it": 0.004, "fr": 0.002}, 0.00003),
)
