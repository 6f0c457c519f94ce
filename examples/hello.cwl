# The smallest Application Package that the engine runs to its end: one Workflow of one step, whose output is a folder
# with a STAC catalog, as the engine stores nothing else. No percent sign in label or doc: the engine breaks on it.
cwlVersion: v1.2
$namespaces:
  s: https://schema.org/
s:softwareVersion: 1.0.0
$graph:
  - class: Workflow
    id: hello # becomes the id of the process
    label: Hello
    doc: Greets somebody, after some seconds
    inputs:
      name:
        label: who is greeted
        type: string
      seconds:
        label: how long to think first, at most 60
        type: int
        default: 3
    outputs:
      - id: greeting
        label: folder with a STAC catalog, one item and hello.txt
        type: Directory
        outputSource: greet/results
    steps:
      greet:
        run: "#greet"
        in:
          name: name
          seconds: seconds
        out: [results]
  - class: CommandLineTool
    id: greet
    requirements:
      DockerRequirement:
        dockerPull: docker.io/eoepca/convert # any image with a shell; this one the engine's proof uses too
      ResourceRequirement:
        coresMax: 1
        ramMax: 256
    baseCommand:
      - sh
      - -c
      - |
        set -eu
        if [ "$2" -gt 60 ]; then
          echo "seconds is $2, at most 60 are allowed" >&2
          exit 1
        fi
        sleep "$2"
        echo "Hello, $1!" > hello.txt
        cat > catalog.json << END
        {"type": "Catalog", "stac_version": "1.0.0", "id": "hello", "description": "A greeting",
         "links": [{"rel": "root", "href": "./catalog.json", "type": "application/json"},
                   {"rel": "item", "href": "./item.json", "type": "application/geo+json"}]}
        END
        cat > item.json << END
        {"type": "Feature", "stac_version": "1.0.0", "id": "greeting", "bbox": [-180, -90, 180, 90],
         "geometry": {"type": "Polygon",
                      "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]},
         "properties": {"datetime": "$(date -u +%Y-%m-%dT%H:%M:%SZ)"}, "links": [],
         "assets": {"hello": {"href": "./hello.txt", "type": "text/plain", "roles": ["data"]}}}
        END
      - hello # what sh calls $0
    inputs:
      name:
        type: string
        inputBinding:
          position: 1
      seconds:
        type: int
        inputBinding:
          position: 2
    outputs:
      results:
        type: Directory
        outputBinding:
          glob: .
