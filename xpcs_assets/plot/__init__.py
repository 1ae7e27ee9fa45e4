"""Arrays of a result -> figures: for the assets' thumbnails, the portal and the catalog.

``figures`` holds one function a figure, ``pattern`` the detector images, ``style`` how all of them look,
``thumbnails`` makes files and inline pictures of them. Nothing here computes physics.
"""
