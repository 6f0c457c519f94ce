<StyledLayerDescriptor version="1.0.0" xmlns="http://www.opengis.net/sld">
  <NamedLayer>
    <Name xmlns="http://www.opengis.net/se">red and nir</Name>
  </NamedLayer>
</StyledLayerDescriptor>
