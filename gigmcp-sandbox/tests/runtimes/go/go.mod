module gigmcp.test/work

go 1.19
