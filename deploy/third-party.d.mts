/** For the tests; the build itself is JavaScript, since Node 20 runs no TypeScript. */
export function licenceOf(manifest: { name: string; license?: string | undefined }): string;
