"""Word lists of the embedded Portuguese, a module for each topic; `tinydistil.demo.embedded.entries` reads them.

NOUNS, a group a line, `group(style): word/gender ...`:
    gender m, f, mf (masculine given, feminine by rule) or c (one form, both genders); `+` plural only,
    `*` a name with an article. Underscores stand for spaces. Styles: count (the default), own (may take a possessive),
    mass, place, unique, bare, person, kin, name, city. A word may stand in several groups.
ADJECTIVES, `group: adjective ...`: `@` goes with estar instead of ser.
FRAMES, `verb | subjects | complement ; complement | circumstance ; circumstance`:
    verb: `-se` reflexive, `~` a state (no progressive, no preterite by preference), `_` before a fixed rest.
    subjects: groups, P for people in general, nothing for an impersonal verb.
    complement: `[preposition] group ...`; `*` may be made passive; `.d .u .i .b .p .q` after a group: definite,
    definite singular, indefinite singular, bare, bare plural, counted. circumstance: the same, or `!words` as they are.
SYNONYMS: words of one meaning, a set a line, for nouns and verbs. HYPERNYMS, `wider: narrower ...`.
"""
