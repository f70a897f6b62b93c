"""Model versions, and which one people should use.

- `promotion`: what moves the alias ``champion``, and back
- `gate`: may a challenger replace the champion, judged on the same trips?
- `history`, `_handover`: who became champion when and why; the alias follows
- `versions`: registered once for a run, with where it came from as tags
- `card`: the model card
"""
