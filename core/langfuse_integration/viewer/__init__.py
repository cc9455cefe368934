"""The session replay in a browser: reads the local journal, changes nothing, sends nothing.

from langfuse_integration.viewer.app import application

uvicorn.run(application(path_of_the_journal), host="127.0.0.1", port=8123)
"""
