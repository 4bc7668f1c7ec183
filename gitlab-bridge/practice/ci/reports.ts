/** What a job may report: type → format of the upload and the name that GitLab gives the file. */
export const reportKinds: ReadonlyMap<string, { format: 'gzip' | 'raw' | 'zip'; name: string }> = new Map(
  (
    [
      ['junit', 'gzip', 'junit.xml'],
      ['dotenv', 'gzip', '.env'],
      ['cobertura', 'gzip', 'cobertura-coverage.xml'],
      ['jacoco', 'gzip', 'jacoco-coverage.xml'],
      ['metrics', 'gzip', 'metrics.txt'],
      ['cyclonedx', 'gzip', 'gl-sbom.cdx.json'],
      ['annotations', 'gzip', 'gl-annotations.json'],
      ['repository_xray', 'gzip', 'gl-repository-xray.json'],
      ['lsif', 'zip', 'lsif.json'],
      ['accessibility', 'raw', 'gl-accessibility.json'],
      ['codequality', 'raw', 'gl-code-quality-report.json'],
      ['terraform', 'raw', 'tfplan.json'],
      ['performance', 'raw', 'performance.json'],
      ['browser_performance', 'raw', 'browser-performance.json'],
      ['load_performance', 'raw', 'load-performance.json'],
      ['sast', 'raw', 'gl-sast-report.json'],
      ['secret_detection', 'raw', 'gl-secret-detection-report.json'],
      ['dependency_scanning', 'raw', 'gl-dependency-scanning-report.json'],
      ['container_scanning', 'raw', 'gl-container-scanning-report.json'],
      ['cluster_image_scanning', 'raw', 'gl-cluster-image-scanning-report.json'],
      ['dast', 'raw', 'gl-dast-report.json'],
      ['license_scanning', 'raw', 'gl-license-scanning-report.json'],
      ['coverage_fuzzing', 'raw', 'gl-coverage-fuzzing.json'],
      ['api_fuzzing', 'raw', 'gl-api-fuzzing-report.json'],
      ['requirements', 'raw', 'requirements.json'],
      ['requirements_v2', 'raw', 'requirements_v2.json'],
    ] as const
  ).map(([type, format, name]) => [type, { format, name }]),
);
