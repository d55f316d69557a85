"""Nothing but feature vectors: no label, no network. The service brings both along.

Run it beside `make up`:  .venv/bin/python docs/examples/only_vectors.py
"""

import os

from sklearn.datasets import load_breast_cancer

from lookahead import Client

x, truth = load_breast_cancer(return_X_y=True)  # (569, 30) measurements of cells, each in its own unit
x = x.astype("float32")
ids = [f"cell-{row}" for row in range(len(x))]
classes = ["malignant", "benign"]
held_out = 400  # the rest is never suggested: it tells how good the model is

with Client(os.environ.get("LOOKAHEAD_URL", "http://127.0.0.1:8000")) as client:
    client.create_project("cells", classes)
    client.upload_pool("cells", x[:held_out], ids[:held_out])
    client.upload_pool("cells", x[held_out:], ids[held_out:], held_out=True)

    def answer(count: int) -> int:
        """Label the next suggestions as an annotator would; returns how many labels that makes."""
        for suggestion in client.suggest("cells", count=count).suggestions:
            row = ids.index(suggestion.item)
            client.label("cells", suggestion.item, classes[truth[row]])  # here your annotator answers
        return client.project("cells").labels

    client.wait_for(client.train("cells"))  # no labels yet: a network with its initial weights
    for _ in range(4):
        labels = answer(8)
        client.wait_for(client.train("cells"))
        predicted = [p.predicted for p in client.predictions("cells", ids[held_out:]).predictions]
        right = sum(classes[truth[held_out + k]] == name for k, name in enumerate(predicted))
        print(f"{labels} labels: {right / len(predicted):.1%} of {len(predicted)} held-out cells right")  # noqa: T201
