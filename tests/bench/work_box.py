WORKS = {}
