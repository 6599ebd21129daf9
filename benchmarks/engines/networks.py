"""The networks of training_step.py, written once: ringtrain.nn and torch.nn share the names that they need."""


def small(nn, work):
    """The perceptron, and two convolutional networks on 28 x 28 images."""
    if work == "mlp":
        return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    if work == "cnn":
        return nn.Sequential(
            *[nn.Conv2d(1, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 64, 3, 2), nn.ReLU(), nn.Flatten()],
            *[nn.Linear(2304, 128), nn.ReLU(), nn.Linear(128, 10)],
        )
    return nn.Sequential(
        *[nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)],
        *[nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()],
        *[nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10)],
    )


def resnet20(nn):
    """He et al. 2015, for 32 x 32 images; shortcuts that change shape are 1 x 1 convolutions with batch norm."""

    class Block(nn.Module):
        def __init__(self, a, b, stride):
            super().__init__()
            self.conv1, self.norm1 = nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b)
            self.conv2, self.norm2 = nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b)
            same = stride == 1 and a == b
            project = [] if same else [nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b)]
            self.shortcut, self.relu = nn.Sequential(*project), nn.ReLU()

        def forward(self, x):
            y = self.relu(self.norm1(self.conv1(x)))
            return self.relu(self.norm2(self.conv2(y)) + self.shortcut(x))

    layers, a = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
    for b in (16, 32, 64):
        for i in range(3):
            layers.append(Block(a, b, 2 if i == 0 and b != 16 else 1))
            a = b
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def gpt(nn, attention, positions, vocabulary=256, length=128, width=256, heads=4, depth=4):
    """A decoder as GPT-2's: norms first, learned positions, GELU by tanh, no dropout."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.q, self.k, self.v = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
            self.out = nn.Linear(width, width)
            self.up, self.act, self.down = nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width)

        def forward(self, x):
            b, t, _ = x.shape
            y = self.norm1(x)
            q, k, v = (part(y).reshape(b, t, heads, -1).swapaxes(1, 2) for part in (self.q, self.k, self.v))
            x = x + self.out(attention(q, k, v, is_causal=True).swapaxes(1, 2).reshape(b, t, width))
            return x + self.down(self.act(self.up(self.norm2(x))))

    class Gpt(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
            self.blocks = nn.ModuleList([Block() for _ in range(depth)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

        def forward(self, tokens):
            x = self.token(tokens) + self.place(positions)
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x)).reshape(-1, vocabulary)

    return Gpt()


def encoder(nn, positions, vocabulary=256, length=128, width=256, heads=4, depth=4):
    """An encoder as BERT's: norms last, GELU, no dropout; every token is predicted."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
            options = {"dropout": 0.0, "activation": "gelu", "batch_first": True}
            self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(width, heads, 4 * width, **options), depth)
            self.head = nn.Linear(width, vocabulary)

        def forward(self, tokens):
            x = self.token(tokens) + self.place(positions)
            return self.head(self.layers(x)).reshape(-1, vocabulary)

    return Encoder()


def lstm(nn, vocabulary=256, width=256):
    """A language model of two LSTM layers."""

    class Lstm(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Embedding(vocabulary, width)
            self.layers = nn.LSTM(width, width, num_layers=2, batch_first=True)
            self.head = nn.Linear(width, vocabulary)

        def forward(self, tokens):
            return self.head(self.layers(self.token(tokens))[0]).reshape(-1, vocabulary)

    return Lstm()


#: work -> batch, length of a sequence or shape of a sample
SEQUENCES = {"gpt": (8, 128), "bert": (8, 128), "lstm": (32, 64)}
IMAGES = {"mlp": (128, 784), "cnn": (128, 1, 28, 28), "lenet": (128, 1, 28, 28), "resnet20": (32, 3, 32, 32)}


def network(nn, attention, positions, work):
    """positions: the numbers 0..127, as an array of the library's."""
    if work == "resnet20":
        return resnet20(nn)
    if work == "gpt":
        return gpt(nn, attention, positions)
    if work == "bert":
        return encoder(nn, positions)
    return lstm(nn) if work == "lstm" else small(nn, work)
