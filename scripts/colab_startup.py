"""IPython runs this at the start of every kernel of `make colab-test`: `google.colab` as far as a lesson asks for it.

Colab's own kernel has the module loaded and its shell is a class named `Shell`. What its module does in the browser
(`output.eval_js`, `files.upload` …) has no stand-in until a lesson uses it; tests/test_colab.py says when one does.
"""
import sys, types

from IPython import get_ipython

for name in ('google', 'google.colab', 'google.colab._shell'): sys.modules[name] = types.ModuleType(name)
sys.modules['google'].__path__ = sys.modules['google.colab'].__path__ = []
sys.modules['google'].colab = sys.modules['google.colab']

if (shell := get_ipython()) is not None:
    shell.__class__ = type('Shell', (type(shell),), dict(__module__='google.colab._shell'))
del name, shell
