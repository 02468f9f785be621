"""What needs no host. Whole batches are tested in a host's sandbox: golden/, and `deltaforge plugin test`."""

import sys
import unittest

sys.path.append("sdk")

from deltaforge import Fatal  # noqa: E402
from plugin import Config, MyPlugin, hide_digits  # noqa: E402


class PluginTest(unittest.TestCase):
    def test_digits_are_hidden_and_the_rest_stays(self) -> None:
        self.assertEqual(hide_digits("+1 555-0199 ext. ٣"), "+# ###-#### ext. ٣")

    def test_a_configuration_without_a_column_is_refused(self) -> None:
        self.assertEqual(MyPlugin(Config("phone")).column, "phone")
        with self.assertRaises(Fatal):
            MyPlugin(Config())


if __name__ == "__main__":
    unittest.main()
