"""Who may come in: the token of the link, or typed on a page that says so in our words."""

from typing import Any

from jupyter_server.auth.identity import PasswordIdentityProvider
from voila.voila_identity_provider import VoilaLoginHandler


class LoginPage(VoilaLoginHandler):
    """Asks for the token, and says where it is printed."""

    def get_template(self, name: str) -> Any:
        """Take the page from our own template, as all others."""
        return self.settings["voila_jinja2_env"].get_template(name)


class Door(PasswordIdentityProvider):
    """Lets in who brings the token of JUPYTER_TOKEN; everybody else meets the page that asks for it."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**{**traits, "login_handler_class": LoginPage})
