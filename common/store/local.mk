# common/store
