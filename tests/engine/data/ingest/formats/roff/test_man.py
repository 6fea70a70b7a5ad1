"""Manual pages come out as Markdown, whichever macros they are written in; no request is left in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.engine.data.ingest.formats.roff.man import man_to_markdown
from tests.growth import assert_near_linear

MAN = r"""'\" t
.\" A comment
.de XX
hidden
..
.TH GREP 1 2024-01-01 "GNU" "Manual"
.SH NAME
grep \- print lines
.SH SYNOPSIS
.B grep
.RI [ option ...]
.br
.BR egrep (1)
.SH OPTIONS
.TP
.BR \-v ", " \-\-invert
Invert the
.I sense
of it.
.IP
More of \fB\-v\fR.
.TP
\fB\-q\fP
Quiet.
.PP
After \(lqthe\(rq list, \(bu \e n.
.IP \(bu 2
one
.IP \(bu
two
.IP 1.
first
.SS Examples
.nf
$ grep \-v \fIx\fP
  .B\&
.fi
.if t not shown
.ie n for terminals
.el for others
.UR https://x.org
the site
.UE .
"""
MARKDOWN = """# GREP(1)

## NAME

grep - print lines

## SYNOPSIS

**grep** [*option*...]
**egrep**(1)

## OPTIONS

- **-v**, **--invert**: Invert the *sense* of it.

  More of **-v**.

- **-q**: Quiet.

After “the” list, • \\ n.

- one
- two
1. first

### Examples

```
$ grep -v x
  .B
```

for terminals [the site](https://x.org).
"""


def test_a_page_in_man() -> None:
    assert man_to_markdown(MAN) == MARKDOWN


MDOC = r""".Dd January 1, 2024
.Dt LS 1
.Os
.Sh NAME
.Nm ls
.Nd list files
.Sh SYNOPSIS
.Nm
.Op Fl al
.Op Fl D Ar format
.Op Ar
.Sh DESCRIPTION
The
.Nm
utility reads
.Pa /etc/x ,
see
.Xr sh 1 .
.Pp
Then:
.Bl -tag -width Ds
.It Fl a
All of
.Ar it .
.It Fl l , Fl Fl long
Long.
.El
.Bl -bullet
.It
one
.It
two
.El
.Bd -literal
$ ls \-l
.Ed
.Fn open "const char *p" "int f"
.Dq quoted words
.Ev HOME Ns = Ns Ar x
"""
MDOC_MARKDOWN = """# LS(1)

## NAME

**ls** — list files

## SYNOPSIS

**ls** [**-al**] [**-D** *format*] [*file* ...]

## DESCRIPTION

The **ls** utility reads `/etc/x`, see **sh**(1).

Then:

- **-a**: All of *it*.
- **-l**, **--long**: Long.

- one
- two

```
$ ls -l
```

`open(const char *p, int f)` “quoted words” `HOME`=*x*
"""


def test_a_page_in_mdoc() -> None:
    assert man_to_markdown(MDOC) == MDOC_MARKDOWN


def test_a_table() -> None:
    page = ".TH A 1\n.TS\nallbox tab(:);\nlb l\nl l.\nName:What\n_\n\\fBx\\fR:T{\n.B two\nlines\nT}\ny:|\n.TE\nend\n"
    rows = "| Name | What |\n| --- | --- |\n| **x** | **two** lines |\n| y | \\| |"
    assert man_to_markdown(page) == f"# A(1)\n\n{rows}\n\nend\n"


@pytest.mark.parametrize(
    ("roff", "markdown"),
    [
        (r"\[u00E9] \(:a \('e \(co \(em \(aq \(ha \(ti", "é ä é © — ' ^ ~"),
        (r"a\fBb\fIc\fRd", "a**b***c*d"),
        (r"\f(CWcode\fP and \f[B]bold\f[]", "`code` and **bold**"),
        (r"\s-1SMALL\s0 \h'2m'x\v'-1'y \" comment", "SMALL xy"),
        (r"\fB*\fR", "`*`"),
        (".ds X \\fBval\n\\*X and \\*[X]", "val and val"),
        (".BI a b c", "**a***b***c**"),
        ('.B "two  words"', "**two  words**"),
        ("one \\\nline", "one line"),
        (".unknown shown words\n.ad l", "shown words"),
        ("a\n.RS\nb\n.RE\nc", "- **a**: b\n\nc"),
        ("a:\n.RS\nb\n.RE\nc", "a:\n\nb\n\nc"),
        (".SY cmd\n.OP \\-a x\n.YS", "**cmd** [**-a** *x*]"),
        ('.de Sp \\" a gap\n.sp\n..\n.de1 X END \\" a word\nno\n..\n.END\n.ig \\" for nobody\nno\n..\nend', "end"),
        (".ie \\n(.g yes\n.el no\n.if t \\{\nno\n.\\}\n.if !n no\nend", "yes end"),
    ],
)
def test_text(roff: str, markdown: str) -> None:
    assert man_to_markdown(roff) == markdown + "\n"


PIECES = [
    *(".TP", ".RS", ".RE", ".nf", ".fi", ".TS", ".TE", ".Bl -column", ".It a Ta b", ".El", ".Bd -literal", ".Ed"),
    *(".SH", ".B", ".BR a", ".if n \\{", ".\\}", ".de x", "..", "\\fB", "\\(", "\\*[", "\\", ".Op Fl a", ".IP x"),
    *(".UR a", ".UE", ".ds a b", '."', "T{", "T}", ".Oo", ".Fo x", ".Lk", ".TH", ".Nm", "'", ".", "l.", "", "text"),
    *(".Fl", ".Xr", ".Fn"),
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=9)), max_size=30).map("\n".join))
def test_nothing_makes_it_fail(text: str) -> None:
    man_to_markdown(text)


@given(st.lists(st.text("abcd ", min_size=1, max_size=20), max_size=9))
def test_words_of_paragraphs_survive(paragraphs: list[str]) -> None:
    assert man_to_markdown("\n.PP\n".join(paragraphs)).split() == " ".join(paragraphs).split()


@pytest.mark.parametrize(
    "piece", [".TP\na\n", ".RS\n", ".BR a ", "\\fB", ".Op Fl a ", ".Bl\n.It a\n", ".if n ", "a\\\n"]
)
def test_time_grows_with_the_text_alone(piece: str) -> None:
    assert_near_linear(lambda times: man_to_markdown(piece * times), 1000, 16000)
