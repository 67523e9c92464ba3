"""The formats that can be imported, without importing any of them."""

READERS = {
    "goliath": "datasets.readers.goliath:GoliathReader",
    "becominglit": "datasets.readers.becominglit:BecomingLitReader",
    "multiface": "datasets.readers.multiface:MultifaceReader",
    "ava256": "datasets.readers.ava256:Ava256Reader",
    "nersemble": "datasets.readers.nersemble:NeRSembleReader",
    "renderme360": "datasets.readers.renderme360:RenderMe360Reader",
    "video": "datasets.readers.video:VideoReader",
    "imavatar": "datasets.readers.imavatar:IMavatarReader",
    "insta": "datasets.readers.insta:InstaReader",
    "vhap": "datasets.readers.vhap:VhapReader",
    "nerface": "datasets.readers.nerface:NerFaceReader",
    "mononphm": "datasets.readers.mononphm:MonoNPHMReader",
}
"""Format → ``module:class``."""
