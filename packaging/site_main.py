"""What runs when the interpreter is given /usr/lib/hearth-agent/site: the command, or `-m MODULE`.

Isolated (`-IS`) an interpreter searches this folder and the standard library and nothing else; what
the host's administrator installed for Python is not Hearth's.
"""

import sys

if sys.argv[1:2] == ["-m"]:
    import runpy

    module = sys.argv[2]
    del sys.argv[:2]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
else:
    from agent.cli.app import main

    sys.argv[0] = "hearth"
    main()
