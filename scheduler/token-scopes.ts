/** What an admin token without scope sudo means: as `gitlab connect` answers it, and `status` shows it as long as that is so. */
export const lacksSudoSentence =
  "GitLab's token has no scope sudo: jobs of users other than its own are not tried again by the mesh, nor by autogit-node retry";
