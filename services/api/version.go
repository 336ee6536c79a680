package api

// Version is the version of Hermes, in semver: of the CLI, the server and what they say to each other.
const Version = "0.1.0"
