# An Application Package whose inputs come by value: a bounding box, a list of texts, a GeoJSON file and a style. It clips
# nothing: put your tool where the bands are written.
cwlVersion: v1.2
$namespaces:
  s: https://schema.org/
s:softwareVersion: 1.0.0
$graph:
  - class: Workflow
    id: clip
    label: Clip
    doc: Shows how a tool gets a bounding box, bands, an area and a style
    inputs:
      extent:
        label: bounding box, west, south, east and north
        type:
          type: record
          name: extent
          fields:
            bbox: double[]
            crs: string
      bands:
        label: names of the bands
        type: string[]
      area:
        label: area in GeoJSON
        type: Any
      style:
        label: style of the picture
        type: string
    outputs:
      - id: clipped
        label: folder with a STAC catalog, one item, the bands, the area and the style
        type: Directory
        outputSource: cut/results
    steps:
      cut:
        run: "#cut"
        in:
          extent: extent
          bands: bands
          area: area
          style: style
        out: [results]
  - class: CommandLineTool
    id: cut
    requirements:
      DockerRequirement:
        dockerPull: docker.io/eoepca/convert # any image with a shell
      ResourceRequirement:
        coresMax: 1
        ramMax: 256
      InitialWorkDirRequirement:
        listing:
          - entryname: area.geojson
            entry: $(inputs.area)
          - entryname: style.sld
            entry: $(inputs.style)
    baseCommand:
      - sh
      - -c
      - |
        set -eu
        bbox="$1, $2, $3, $4"
        ring="[$1, $2], [$3, $2], [$3, $4], [$1, $4], [$1, $2]"
        shift 4
        assets='"area": {"href": "./area.geojson", "type": "application/geo+json"},
                "style": {"href": "./style.sld", "type": "application/vnd.ogc.sld+xml"}'
        for band in "$@"; do
          echo "$band in $bbox" > "$band.txt" # your tool here
          assets="$assets, \"$band\": {\"href\": \"./$band.txt\", \"type\": \"text/plain\", \"roles\": [\"data\"]}"
        done
        cat > catalog.json << END
        {"type": "Catalog", "stac_version": "1.0.0", "id": "clip", "description": "What was clipped",
         "links": [{"rel": "root", "href": "./catalog.json", "type": "application/json"},
                   {"rel": "item", "href": "./item.json", "type": "application/geo+json"}]}
        END
        cat > item.json << END
        {"type": "Feature", "stac_version": "1.0.0", "id": "clipped", "bbox": [$bbox],
         "geometry": {"type": "Polygon", "coordinates": [[$ring]]},
         "properties": {"datetime": "$(date -u +%Y-%m-%dT%H:%M:%SZ)"}, "links": [], "assets": {$assets}}
        END
      - clip # what sh calls $0
    arguments:
      - $(inputs.extent.bbox[0])
      - $(inputs.extent.bbox[1])
      - $(inputs.extent.bbox[2])
      - $(inputs.extent.bbox[3])
    inputs:
      extent: Any
      bands:
        type: string[]
        inputBinding:
          position: 1
      area: Any
      style: string
    outputs:
      results:
        type: Directory
        outputBinding:
          glob: .
