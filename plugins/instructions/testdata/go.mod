module extprocd/plugins/instructions/testdata

go 1.21
