module conversation

go 1.19
