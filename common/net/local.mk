# common/net
