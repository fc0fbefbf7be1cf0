# common/directory
