"""The external scaler of KEDA: KEDA asks for the number of a target and writes it itself."""
