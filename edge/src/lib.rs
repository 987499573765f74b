//! The edge node: owns every flow to the user agents.
