declare const __VERSION__: string | undefined;

/** Version of the package; the bundle has it built in. */
export const version: string = typeof __VERSION__ === 'string' ? __VERSION__ : '0.0.0-source';
