"""What needs no host. Whole batches are tested in a host's sandbox: golden/, and `deltaforge plugin test`."""

import sys
import unittest

sys.path.append("sdk")

from deltaforge import Fatal  # noqa: E402
from plugin import Config, MyPlugin  # noqa: E402


class PluginTest(unittest.TestCase):
    def test_a_body_holds_the_row(self) -> None:
        body = MyPlugin(Config("data")).body("customers", "c", '{"id":1}')
        self.assertEqual(body, '{"table":"customers","op":"c","data":{"id":1}}')

    def test_a_member_cannot_have_the_name_of_another(self) -> None:
        for member in ("", "table", "op"):
            with self.subTest(member), self.assertRaises(Fatal):
                MyPlugin(Config(member))


if __name__ == "__main__":
    unittest.main()
