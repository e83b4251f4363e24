"""Management of clusters: the SDK's managers, in worker processes.

Every method has the name, the arguments and the options of the SDK's, takes and gives the SDK's
own types (from `couchbase.management`), and returns a Deferred.
"""
