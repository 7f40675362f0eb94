"""`labels` + `features` → `suggestions`: related images, with the reasons why they are related."""
