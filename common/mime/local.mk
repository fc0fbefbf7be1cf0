# common/mime
