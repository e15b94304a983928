# The web page and the API of `showattend serve`; docs/install.md has the commands and what they do.
FROM python:3.12-slim

# The index of PyTorch's CPU builds, from PyTorch's "Start Locally" page. Without it, PyTorch comes
# with CUDA and takes 6.3 GB.
ARG TORCH_INDEX=""

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY showattend showattend
COPY assets/model assets/model
COPY assets/photos assets/photos
COPY configs configs
RUN if [ -n "$TORCH_INDEX" ]; then \
      pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision; \
    fi && \
    pip install --no-cache-dir ".[serve]"

# An ordinary user without a home; nothing has to be written.
WORKDIR /
USER 65534:65534
EXPOSE 8000
ENTRYPOINT ["showattend", "serve", "--host", "0.0.0.0"]
