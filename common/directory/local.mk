# common/directory
EXTRA_DIST += conf/sample/directory.ldif conf/provmail.schema
