"""Model versions, and which one people should use.

- `promotion`: what moves the alias ``champion``, and back
- `gate`: may a challenger replace the champion, judged on the same trips?
- `history`, `_handover`: who became champion when and why; the alias follows
- `versions`: registered once for a run, with where it came from as tags
- `sign_off`: who protected the champion, who agreed to which version
- `copying`: a version goes to another registry, with its run and where it came from
- `card`: the model card
"""
