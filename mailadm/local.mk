# mailadm
