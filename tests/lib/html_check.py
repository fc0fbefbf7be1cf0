"""A strict reader of what the HTML re-serialiser wrote: every tag, attribute and value must be of the allowed kind.

It shares no code or table with the serialiser: it asks what could run or load, with the standard library's parser.
"""
import re
from html.parser import HTMLParser

SAFE_TAGS = set(
    "a abbr acronym address article aside b bdi bdo big blockquote br caption center cite code col colgroup dd del dfn "
    "div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav ol p pre q s "
    "samp section small span strike strong sub sup table tbody td tfoot th thead time tr tt u ul var wbr".split())
URL_ATTRS = {"href", "src", "action", "formaction", "background", "poster", "data", "srcset", "cite", "longdesc",
             "xlink:href", "lowsrc", "dynsrc", "ping", "manifest", "codebase", "profile", "usemap", "classid"}
GOOD_CSS = re.compile(r"^[-\w\s#%,.:;()+*/!'\"\u0080-\U0010ffff]*$")
BAD_CSS = re.compile(r"url\s*\(|expression|javascript|behavior|-moz-binding|@|\\|image-set|image\s*\(|element\s*\(|attr\s*\(|"
                     r"var\s*\(|position\s*:|content\s*:|filter|cross-fade|src\s*:", re.IGNORECASE)


class Check(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.faults, self.text = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in SAFE_TAGS:
            self.faults.append(f"tag {tag}")
        for name, value in attrs:
            value = value or ""
            if name.startswith("on") or ":" in name or name in ("srcdoc", "http-equiv", "id", "name", "class", "is"):
                self.faults.append(f"attribute {name} on {tag}")
            if name in URL_ATTRS:
                squeezed = re.sub(r"[\x00-\x20]+", "", value).lower()
                link = tag == "a" and name == "href" and squeezed.startswith(("http://", "https://", "mailto:", "tel:"))
                picture = tag == "img" and name == "src" and re.match(
                    r"data:image/(png|jpeg|gif|webp);base64,[a-z0-9+/=]*$", squeezed)
                if not link and not picture:
                    self.faults.append(f"{name}={value!r} on {tag}")
            if name == "style" and (BAD_CSS.search(value) or not GOOD_CSS.match(value)):
                self.faults.append(f"style {value!r}")

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        self.text.append(data)

    def handle_comment(self, data):
        self.faults.append(f"comment {data!r}")

    def handle_decl(self, decl):
        self.faults.append(f"declaration {decl!r}")

    unknown_decl = handle_decl

    def handle_pi(self, data):
        self.faults.append(f"instruction {data!r}")


def check(html):
    """(faults, text) of serialised HTML."""
    c = Check()
    c.feed(html)
    c.close()
    return c.faults, "".join(c.text)
