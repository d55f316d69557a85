"""From arrays to suggestions: put your own pool and network where the digits are.

Run it beside `make up`:  .venv/bin/python docs/examples/own_data.py
"""

import os

import torch
from safetensors.torch import save
from sklearn.datasets import load_digits
from torch import nn

from lookahead import Client

x, truth = load_digits(return_X_y=True)  # (1797, 64) numbers from 0 to 16, and the classes
x = (x / 16).astype("float32")
ids = [f"digit-{row}" for row in range(len(x))]
classes = [str(digit) for digit in range(10)]

# A network trained on the labels you have: here on the first 40.
network = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
inputs = torch.from_numpy(x[:40])
target = nn.functional.one_hot(torch.from_numpy(truth[:40]), 10).float()
for _ in range(200):
    optimizer.zero_grad()
    (network(inputs) - target).square().sum(dim=1).mean().backward()
    optimizer.step()

with Client(os.environ.get("LOOKAHEAD_URL", "http://127.0.0.1:8000")) as client:
    client.create_project("my-digits", classes)
    client.upload_pool("my-digits", x, ids)
    client.labels("my-digits", [(ids[row], classes[truth[row]]) for row in range(40)])
    job = client.upload_checkpoint("my-digits", save(network.state_dict()), "mlp", {"hidden": [128]})
    client.wait_for(job)
    for _ in range(10):
        suggestion = client.suggest("my-digits").suggestions[0]
        row = ids.index(suggestion.item)
        client.label("my-digits", suggestion.item, classes[truth[row]])  # here your annotator answers
        said = f"{suggestion.item} looked like {suggestion.predicted} ({suggestion.confidence:.0%})"
        print(f"{said}, is {classes[truth[row]]}")  # noqa: T201
