"""Command lines of pipelines, for the job's docker and for the client itself.

Public pipelines have lines like these. They run one by one in a directory with ``FILES``, with a registry in ``$REGISTRY``.
"""

FILES = {
    "Dockerfile": "FROM busybox\nARG CONTENT=none\nCOPY source .\nRUN cat source >copy\nCMD cat source\n",
    "Dockerfile.ci": "FROM busybox AS base\nCOPY source .\nFROM base AS test\nRUN --mount=type=cache,target=/c ls\nFROM base\n",
    "Dockerfile.alone": "FROM busybox\nRUN date >built\n",
    "Dockerfile.slow": "FROM busybox\nARG AT\nRUN sleep 30\n",
    "source": "1\n",
    "docker-bake.hcl": 'group "default" { targets = ["app"] }\ntarget "app" { args = { CONTENT = "two words" } }\n',
    "compose.yaml": """services:
  web: {image: busybox, command: sleep 60, init: true}
  test: {image: busybox, command: sh -c 'exit 3'}
""",
    "ci.yml": """services:
  app: {build: {context: ., args: {CONTENT: "$CONTENT"}}}
  checks: {build: {context: ., dockerfile: Dockerfile.ci, target: test}, profiles: [tests]}
""",
    ".env.ci": "CONTENT=of the file\n",
}

# What the job's docker adds, and the lines to which it adds it.
LABEL = "--label dindcache.job={url}"
CACHE = "--build-arg BUILDKIT_CACHE_MOUNT_NS={project}"
BAKE = "--set *.args.BUILDKIT_CACHE_MOUNT_NS={project}"

LABELLED = r"""
docker run --rm busybox echo hello
docker --context default run --rm busybox echo hello
docker -c default run --rm busybox echo hello
docker -cdefault run --rm busybox echo hello
docker --context=default run --rm busybox echo hello
docker --host "$DOCKER_HOST" run --rm busybox echo hello
docker -H="$DOCKER_HOST" run --rm busybox echo hello
docker -DH "$DOCKER_HOST" run --rm busybox echo hello
docker -l error run --rm busybox echo hello
docker -Dlerror run --rm busybox echo hello
docker --config config run --rm busybox echo hello
docker --tlscacert "$DOCKER_CERT_PATH/ca.pem" --tlsverify run --rm busybox echo hello
docker -- run --rm busybox echo hello
docker run --rm busybox sh -c 'exit 75'
docker run --rm busybox sh -c 'echo out; echo error >&2; exit 3'
docker run --rm --pull never nobody:none
docker run --rm --no-such-flag busybox
docker run
docker run --help
echo data | docker run --rm -i busybox cat
docker run --rm -i busybox cat </dev/null
docker run --rm -i busybox cat <&-
docker run --rm busybox echo lost >&-
docker run --rm -e A='two words' -e 'B=$x' -e "C=a'b" busybox env | grep '^[ABC]='
docker run --rm --env-file .env.ci busybox sh -c 'echo "$CONTENT"'
docker run --rm --entrypoint echo busybox 'a  b' '' '*'
docker run --rm --label mine=yes --name named busybox true
docker run --rm --network none busybox ls /sys/class/net
docker run --rm -v "$PWD":/empty busybox ls /empty
docker run --rm busybox seq 20000 | tail -n 1
docker container run --rm busybox echo hello
docker create --name created busybox true >/dev/null && docker rm created
docker container create --name new busybox >/dev/null; docker cp source new:/s; docker cp new:/s - | tar -t; docker rm new
docker run -d --name background busybox sleep 60 >/dev/null; docker stop -t 0 background; docker rm background
docker network create jobs >/dev/null; docker network inspect jobs --format '{{.Driver}}'; docker network rm jobs
docker volume create data; docker volume rm data
for i in 1 2 3; do docker run --rm busybox echo "$i" & done | sort; wait
timeout 2 docker run --rm --name slow busybox sh -c 'trap "echo ended; exit 5" TERM; sleep 60 & wait'
timeout -s INT 2 docker run --rm --name slow busybox sh -c 'trap "echo ended; exit 5" INT; sleep 60 & wait'
docker run --rm --name slow busybox sh -c 'trap "exit 5" TERM; sleep 60 & wait' & sleep 2; kill $!; wait $!; docker ps -q
docker run --rm --name slow busybox sh -c 'trap "exit 5" HUP; sleep 60 & wait' & sleep 2; kill -HUP $!; wait $!
"""

CACHED = r"""
docker build -q .
docker build . -q -t app:1
docker --debug build -q . 2>/dev/null
docker build --quiet --build-arg CONTENT='two words' --target test -f Dockerfile.ci .
docker build -q - <Dockerfile.alone
docker build -q -f- . <Dockerfile
docker build -q -f - . <Dockerfile
docker build -q --file=- . <Dockerfile
docker build -q --file - . <Dockerfile
docker build -qf- . <Dockerfile
tar -c . | docker build -q -
docker build -o- . 2>/dev/null | tar -t | grep copy
docker build --output=- . 2>/dev/null | tar -t | grep copy
docker build --output type=tar,dest=- . 2>/dev/null | tar -t | grep copy
docker build --output type=tar . 2>/dev/null | tar -t | grep copy
docker build -q --output=out . && ls out/copy
docker build --progress=plain . 2>&1 | grep -o '\[.*[0-9]\] [A-Z].*' | sort
docker build -q . <&-
docker build nowhere
docker build -f Missing . 2>&1 | grep -o 'failed to read dockerfile.*'
docker build --no-such-flag .
docker build
docker build -q --secret id=token,env=TOKEN --label a=b --platform linux/amd64 .
docker build -q --iidfile id . && wc -l <id
docker image build -q .
docker builder build -q .
docker buildx build -q --load .
docker buildx b -q .
docker buildx --builder default build -q .
docker buildx --builder=default b -q .
docker --log-level error buildx build -q .
docker compose -f ci.yml build --quiet
docker compose -f ci.yml --profile tests --env-file .env.ci build --quiet
docker compose --file=ci.yml -p mine --ansi never build app --quiet
docker compose -f - build --quiet app <ci.yml
docker-compose -f ci.yml build --quiet
docker-compose --project-name mine --file ci.yml build --quiet app
timeout 8 docker build -q --build-arg AT="$AT" -f Dockerfile.slow .
docker build -q --build-arg AT="$AT" -f Dockerfile.slow . & sleep 8; kill $!; wait $!
"""

BAKED = r"""
docker buildx bake --progress quiet
docker bake --progress quiet
docker buildx f -f docker-bake.hcl app --progress quiet
docker buildx --builder default bake --progress quiet --set app.args.CONTENT=set
docker -l error bake --progress quiet -f - <docker-bake.hcl
"""

SAME = r"""
docker version --format '{{.Server.Version}}'
docker --version
docker -v
docker -D -l error info --format '{{.OSType}}'
docker --log-level=error images -q nobody
docker help run
docker
docker nobody
docker ps -aq --filter name=nobody
docker rm -f nobody
docker rmi nobody
docker inspect nobody
docker exec nobody true
docker pull -q busybox
docker image pull busybox -q
docker pull -q "$REGISTRY/nobody:none"
docker tag busybox "$REGISTRY/lines:1"; docker push -q "$REGISTRY/lines:1"; docker image push --quiet "$REGISTRY/lines:1"
docker login -u someone -p secret "$REGISTRY" 2>/dev/null
echo secret | docker login -u someone --password-stdin "$REGISTRY" 2>/dev/null
docker logout "$REGISTRY"
docker save busybox | docker load -q
docker system df >/dev/null
docker buildx ls --format '{{.Name}}'
docker compose version --short
docker compose config --services
docker compose -f ci.yml config --services
docker compose -f - config --services <ci.yml
docker compose -p mine up -d --quiet-pull web 2>/dev/null; docker compose -p mine ps --services; docker compose -p mine down
docker compose --ansi never run --rm -T test echo hello 2>/dev/null
docker compose up --no-color --exit-code-from test test 2>/dev/null
docker-compose -f ci.yml config --services
DOCKER_HOST='' docker ps
DOCKER_HOST=tcp://127.0.0.1:9 docker run busybox
docker -H tcp://127.0.0.1:9 run busybox
docker --context nobody run busybox
docker --context nobody compose up
DOCKER_HOST='' DOCKER_CONTEXT=nobody docker build .
"""

LINES = {
    line: added
    for block, added in ((LABELLED, LABEL), (CACHED, CACHE), (BAKED, BAKE), (SAME, ""))
    for line in block.strip().splitlines()
}
