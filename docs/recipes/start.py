"""What every recipe begins with: an empty folder, in it the demo."""

import os
import tempfile

folder = tempfile.TemporaryDirectory()
os.symlink(os.path.abspath("../demo"), f"{folder.name}/demo")
os.chdir(folder.name)
