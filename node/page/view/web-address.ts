/** GitLab's own address as a link; anything else is no address of a page. */
export const webAddress = (url: string | null): string | null =>
  url !== null && /^https?:\/\/[^\s"'<>]+$/.test(url) ? url : null;

/** A pipeline's page in GitLab; null where nobody knows GitLab's address, or the project's path is none. */
export function pipelineAddress(gitlab: string | null, project: string, pipeline: number): string | null {
  const base = webAddress(gitlab);
  // What a member or a job says is a path of a project, or goes nowhere.
  const isPath = /^[\w.-]+(?:\/[\w.-]+)+$/.test(project) && !/(?:^|\/)\.{1,2}(?:\/|$)/.test(project);
  return base === null || !isPath ? null : `${base.replace(/\/+$/, '')}/${project}/-/pipelines/${pipeline}`;
}
