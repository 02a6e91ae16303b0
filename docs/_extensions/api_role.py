"""The role {api}: a link to a public name, an error of the build where there is no such name."""

from sphinx.roles import XRefRole

import ckd


class _Api(XRefRole):
    def run(self):
        self.name = "py:obj"
        return super().run()

    def process_link(self, env, refnode, has_explicit_title, title, target):
        """A name of `ckd` itself is documented where it is at home."""
        name = target.removeprefix("ckd.")
        return title, f"{ckd._HOME[name]}.{name}" if name in ckd._HOME else target


def setup(app):
    """Add the role."""
    app.add_role("api", _Api(warn_dangling=True))
    return {"parallel_read_safe": True}
