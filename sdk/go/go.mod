module deltaforge

go 1.25
