/** Seconds that sections of a trace took together: as GitLab has them, in whole ones. Throws where one is missing. */
export function sectionSeconds(trace: string, ...names: string[]): number {
  return names.reduce((sum, name) => {
    const [began, ended] = ['start', 'end'].map((what) =>
      Number(new RegExp(`section_${what}:(\\d+):${name}\\b`).exec(trace)?.[1] ?? Number.NaN),
    );
    if (began === undefined || ended === undefined || Number.isNaN(ended - began))
      throw new Error(`the trace has no section ${name}: ${trace.slice(-500)}`);
    return sum + ended - began;
  }, 0);
}
